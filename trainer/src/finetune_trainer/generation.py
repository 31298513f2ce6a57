"""What a model continues prompts with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from finetune_trainer.evaluate import inference
from finetune_trainer.gang import Gang
from finetune_trainer.model import PackedModel


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
