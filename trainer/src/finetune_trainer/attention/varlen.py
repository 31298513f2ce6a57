"""Kernels for sequences of documents of varying lengths: PyTorch's own and flash-attention's. GPU only."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from finetune_trainer.attention.documents import Documents

_MODULES = ("flash_attn_interface", "flash_attn")
"""flash-attention 3, for Hopper only, and 2."""
_WINDOW = "window_size"


class Attention(Protocol):
    """Causal attention within each document; see `packed_attention` for shapes."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, documents: Documents, /, *, scaling: float, window: int | None
    ) -> Tensor: ...


def torch_kernel() -> Callable[..., Any]:
    """Imported late: the module brings all of torch.compile along."""
    return importlib.import_module("torch.nn.attention.varlen").varlen_attn  # type: ignore[no-any-return]


def flash_attention_kernel(capability: tuple[int, int]) -> Callable[..., Any] | None:
    """The newest that is installed and made for GPUs of this compute capability."""
    for name in _MODULES if capability[0] == 9 else _MODULES[1:]:
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name).flash_attn_varlen_func  # type: ignore[no-any-return]
    return None


def knows_windows(kernel: Callable[..., Any]) -> bool:
    """torch 2.10's does not."""
    return _WINDOW in inspect.signature(kernel).parameters


def of_kernel(kernel: Callable[..., Any]) -> Attention:
    """What calls this kernel as its signature asks for: they differ by package and release."""
    parameters = inspect.signature(kernel).parameters
    scale = "scale" if "scale" in parameters else "softmax_scale"
    # torch 2.10 spells causal `is_causal`, flash-attention `causal`; torch from 2.11 has windows only.
    causal = {name: True for name in ("is_causal", "causal") if name in parameters}
    groups_heads = scale == "scale" and "enable_gqa" not in parameters

    def attend(
        query: Tensor, key: Tensor, value: Tensor, documents: Documents, *, scaling: float, window: int | None
    ) -> Tensor:
        options: dict[str, Any] = {scale: scaling, **causal}
        if _WINDOW in parameters:
            options[_WINDOW] = (-1 if window is None else window - 1, 0)
        if "enable_gqa" in parameters:
            options["enable_gqa"] = True
        if groups_heads:
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        rows = [tensor.squeeze(0).transpose(0, 1).contiguous() for tensor in (query, key, value)]
        offsets, longest = documents.offsets, documents.longest
        output = kernel(*rows, offsets, offsets, longest, longest, **options)
        if not isinstance(output, Tensor):
            raise TypeError("the kernel answers with a tensor unless it is asked for more")
        return output.unsqueeze(0)

    return attend


def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why no such kernel can be called."""
    if device.type != "cuda":
        return "it runs on GPUs only"
    if dtype not in (torch.bfloat16, torch.float16):
        return "it computes in 16 bits only"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"it needs an Ampere GPU or a newer one, and this is a {torch.cuda.get_device_name(device)}"
    return None
