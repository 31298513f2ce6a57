"""Whether every rank has room for the whole weights of a divided model and for answers, and the words where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from finetune_api.strings import in_gib
from finetune_trainer.engine import is_divided, whole_shape
from finetune_trainer.free_memory import least_free
from finetune_trainer.gang import Gang
from finetune_trainer.generation import Prompt, batches
from finetune_trainer.model import PackedModel

_USABLE: Final = 0.9
"""Of what is free: allocators lose some between their blocks."""
_MOMENTS: Final = 2 * 4
"""Bytes of a trained weight that AdamW takes with its first step."""


def no_room(
    model: PackedModel,
    gang: Gang,
    prompts: Sequence[Prompt],
    *,
    tokens_at_once: int,
    max_new_tokens: int,
    before_training: bool,
) -> str | None:
    """Why these prompts are not answered by a model whose weights are divided; None where they can be. Collective.

    Before training room is left for what comes with its first step, so that there is as much afterwards.
    """
    if not prompts or not is_divided(model):
        return None
    shapes = [(whole_shape(parameter).numel(), parameter) for parameter in model.parameters()]
    # A gang of one has them already.
    weights = sum(number * parameter.element_size() for number, parameter in shapes) if gang.world_size > 1 else 0
    trained = sum(number for number, parameter in shapes if parameter.requires_grad) if before_training else 0
    size = next(model.parameters()).element_size()
    return shortage(
        weights=weights,
        answers=size * _elements(model.mistral.config, prompts, tokens_at_once, max_new_tokens),
        to_come=_MOMENTS * trained // gang.world_size,
        free=least_free(gang),
        gpu=gang.device.type == "cuda",
    )


def shortage(*, weights: int, answers: int, to_come: int, free: int, gpu: bool) -> str | None:
    """In bytes of one rank. None where they suffice."""
    needed, available = weights + answers + to_come, int(_USABLE * free)
    if needed <= available:
        return None
    place = "GPUs with more memory (spec.workers.gpuMemory)" if gpu else "more spec.workers.resources.memory"
    remedy = place if weights + to_come > available else "a smaller spec.evaluation.maxNewTokens"
    return (
        f"Test rows were not answered: with the weights divided by ZeRO 3 it takes {in_gib(needed)} more on each rank, "
        f"{in_gib(weights)} of it for the whole weights, and there are {in_gib(available)}; take {remedy}, or ask for "
        "no answers with spec.evaluation.generateRows: 0"
    )


def _elements(config: Any, prompts: Sequence[Prompt], tokens_at_once: int, max_new_tokens: int) -> int:
    """Of the largest batch: keys and values up to the last token, and what one block makes of the prompts."""
    cached: int = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    block: int = 4 * config.hidden_size + 3 * config.intermediate_size
    sizes = [(len(batch), len(prompts[batch[0]])) for batch in batches(prompts, tokens_at_once)]
    return max(rows * ((longest + max_new_tokens) * cached + longest * block) for rows, longest in sizes)
