"""Activation checkpointing: what of a block's forward pass is computed again in the backward pass."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from finetune_api.spec import ActivationCheckpointing

_MATRIX_PRODUCTS: Final = frozenset({"aten::mm", "aten::addmm", "aten::bmm", "aten::_scaled_mm"})
_ATTENTION: Final = ("scaled_dot_product", "varlen_attn", "flash_attn", "flex_attention")


def recompute(base: Any, how: ActivationCheckpointing, *, compiled: bool) -> None:
    """Full: whole blocks. Selective: all but matrix products and attention, which take most of the time. None: nothing.

    `base` is a transformers model. What is compiled recomputes selectively by itself.
    """
    match how:
        case ActivationCheckpointing.FULL:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        case ActivationCheckpointing.SELECTIVE if not compiled:
            contexts = partial(create_selective_checkpoint_contexts, _keep_what_costs)
            base.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})
        case _:
            pass


def _keep_what_costs(_context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    name = str(operator.name()).split(".")[0]
    if name in _MATRIX_PRODUCTS or any(part in name for part in _ATTENTION):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
