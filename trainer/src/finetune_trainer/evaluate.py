"""What the model makes of rows it does not learn from: its exact loss, and its own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from finetune_trainer.gang import Gang
from finetune_trainer.model import PackedModel
from finetune_trainer.packing import PlacedRow, Row, Rows, accumulation, micro_batches, pack_epoch
from finetune_trainer.prepared import Documents
from finetune_trainer.tokens import tokens_of


def evaluated_rows(documents: Documents, *, sequence_length: int, max_rows: int) -> Rows:
    """Packed rows of the documents of the first `max_rows` raw rows: the same at every evaluation."""
    num_documents = int(np.isin(documents.rows, np.unique(documents.rows)[:max_rows]).sum())
    return pack_epoch(documents.lengths[:num_documents], sequence_length=sequence_length, seed=0, epoch=0)


def shared_out(rows: Sequence[Row], gang: Gang, micro_batch_size: int) -> tuple[tuple[PlacedRow, ...], ...]:
    """This rank's forward passes over the rows. Dummies keep their number equal on all ranks."""
    return micro_batches(
        rows,
        micro_steps=accumulation(len(rows), world_size=gang.world_size, micro_batch_size=micro_batch_size),
        micro_batch_size=micro_batch_size,
        rank=gang.rank,
        world_size=gang.world_size,
    )


def mean_loss(
    model: PackedModel,
    gang: Gang,
    documents: Documents,
    rows: Sequence[Row],
    *,
    micro_batch_size: int,
    beat: Callable[[], None],
) -> float | None:
    """Nats per labelled token of `rows`, each token counted once whatever the ranks; None without rows. Collective."""
    if not rows:
        return None
    total, labelled = 0.0, 0
    with inference(model):
        for micro_batch in shared_out(rows, gang, micro_batch_size):
            tokens = tokens_of(documents, micro_batch, gang.device)
            total += float(model(tokens))
            labelled += len(tokens.targets)
            beat()
    total, all_labelled = gang.sum([total, labelled])
    return total / all_labelled


def answers(
    model: PackedModel,
    gang: Gang,
    prompts: Sequence[NDArray[np.int32]],
    *,
    max_new_tokens: int,
    eos_id: int,
    beat: Callable[[], None],
) -> list[list[int]]:
    """Token ids that the model continues each prompt with, end token excluded. Collective: prompts are shared out."""
    with inference(model):
        own = [
            _continue(model, prompt, gang.device, max_new_tokens=max_new_tokens, eos_id=eos_id, beat=beat)
            for prompt in prompts[gang.rank :: gang.world_size]
        ]
    by_rank = gang.gather(own)
    return [by_rank[index % gang.world_size][index // gang.world_size] for index in range(len(prompts))]


def _continue(
    model: PackedModel,
    prompt: NDArray[np.int32],
    device: torch.device,
    *,
    max_new_tokens: int,
    eos_id: int,
    beat: Callable[[], None],
) -> list[int]:
    """Greedy decoding."""
    mistral = model.mistral
    cache = DynamicCache(config=mistral.config)
    ids = torch.from_numpy(prompt.astype(np.int64))[None].to(device)
    answer: list[int] = []
    while len(answer) < max_new_tokens:
        logits = mistral(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        token = int(logits[0, -1].argmax())
        beat()
        if token == eos_id:
            break
        answer.append(token)
        ids = torch.tensor([[token]], device=device)
    return answer


@contextmanager
def inference(model: PackedModel) -> Iterator[None]:
    """Nothing is dropped, and nothing kept for a backward pass."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
