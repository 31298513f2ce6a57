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


def _keep_what_costs(_context: Any, operator: Any, *operands: Any, **_: Any) -> CheckpointPolicy:
    name = str(operator.name()).split(".")[0]
    is_kept = name in _MATRIX_PRODUCTS and not _widens(*operands[-2:])
    if is_kept or any(part in name for part in _ATTENTION):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _widens(left: Any, right: Any) -> bool:
    """A result much wider than what was summed over, as an adapter's second, is dearer to keep than to compute."""
    return bool(4 * left.shape[-1] < right.shape[-1])
