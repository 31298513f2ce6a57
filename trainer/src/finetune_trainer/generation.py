"""What a model continues prompts with: greedily, several prompts at once, each rank some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from finetune_trainer.engine import whole
from finetune_trainer.evaluate import inference
from finetune_trainer.gang import Gang
from finetune_trainer.model import PackedModel
from finetune_trainer.signs_of_life import alive

Prompt = NDArray[np.int32]

PROMPTS_AT_ONCE: Final = 16
TOKENS_AT_ONCE: Final = 8192
"""Of the prompts of one batch, with their padding: with more of them masks and caches would be large."""


def answers(
    model: PackedModel,
    gang: Gang,
    prompts: Sequence[Prompt],
    *,
    tokens_at_once: int,
    max_new_tokens: int,
    eos_id: int,
    beat: Callable[[], None],
) -> list[list[int]]:
    """Token ids that the model continues each prompt with, end token excluded. Collective.

    Which prompts are computed together is the same for any number of ranks, and so are the answers. Weights that are
    divided among the ranks are gathered once: `gathering.no_room` tells whether there is room for them.
    """
    if not prompts:
        return []
    own: list[tuple[int, list[int]]] = []
    with inference(model), _padded_attention(model.mistral), whole(model):
        for batch in batches(prompts, tokens_at_once)[gang.rank :: gang.world_size]:
            chosen = [prompts[index] for index in batch]
            found = _continue(model.mistral, chosen, gang.device, max_new_tokens, eos_id, beat)
            own += zip(batch, found, strict=True)
    # Who has fewer prompts, or none, waits for the others, however long answers are: their silence would be a hang.
    with alive(beat):
        by_prompt = dict(answer for of_rank in gang.gather(own) for answer in of_rank)
    return [by_prompt[index] for index in range(len(prompts))]


def batches(prompts: Sequence[Prompt], tokens_at_once: int) -> list[list[int]]:
    """Indices of the prompts that are computed together, the longest first: of like length, for short wait for long.

    With their padding they have `tokens_at_once` at most, but for one that has more by itself.
    """
    found: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(prompts)), key=lambda index: -len(prompts[index])):
        if found and len(found[-1]) < PROMPTS_AT_ONCE and (len(found[-1]) + 1) * longest <= tokens_at_once:
            found[-1].append(index)
        else:
            found.append([index])
            longest = len(prompts[index])
    return found


def _continue(
    mistral: Any,
    prompts: Sequence[Prompt],
    device: torch.device,
    max_new_tokens: int,
    eos_id: int,
    beat: Callable[[], None],
) -> list[list[int]]:
    """Greedy decoding of one batch, padded on the left; who is done leaves it."""
    longest = max(map(len, prompts))
    ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
    seen = torch.zeros((len(prompts), longest), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        seen[row, longest - len(prompt) :] = 1
    ids, seen = ids.to(device), seen.to(device)
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=mistral.config)
    found: list[list[int]] = [[] for _ in prompts]
    running = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        logits = mistral(
            input_ids=ids,
            attention_mask=seen,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        told = logits[:, -1].argmax(dim=1)
        beat()
        tokens = told.tolist()
        going_on = [place for place, token in enumerate(tokens) if token != eos_id]
        for place in going_on:
            found[running[place]].append(tokens[place])
        if not going_on:
            break
        if len(going_on) < len(running):
            chosen = torch.tensor(going_on, device=device)
            cache.batch_select_indices(chosen)
            told, seen, positions = told[chosen], seen[chosen], positions[chosen]
            running = [running[place] for place in going_on]
        ids, positions = told[:, None], positions[:, -1:] + 1
        seen = _with_one_more(seen)
    return found


def _with_one_more(seen: Tensor) -> Tensor:
    return torch.cat([seen, seen.new_ones((len(seen), 1))], dim=1)


@contextmanager
def _padded_attention(mistral: Any) -> Iterator[None]:
    """Packed attention takes no padding; decoding is bound by reading weights, whatever computes attention."""
    packed = mistral.config._attn_implementation
    mistral.set_attn_implementation("sdpa")
    try:
        with torch.compiler.set_stance("force_eager"):  # every step has other shapes
            yield
    finally:
        mistral.set_attn_implementation(packed)
