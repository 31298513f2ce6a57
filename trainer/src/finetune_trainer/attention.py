"""Attention over packed rows in which no document sees another, plugged into transformers' own Mistral code.

A forward pass gets one sequence of many documents and their lengths. On CPU the documents are computed one by one, on
GPU by the variable-length kernel; a row × row mask never exists.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

IMPLEMENTATION = "packed_documents"
"""Name for `attn_implementation`. It has no mask function, so transformers builds no mask."""

_KERNEL_PARAMETERS = inspect.signature(varlen_attn).parameters


@dataclass(frozen=True, eq=False)
class Documents:
    """Where the documents of one packed sequence lie."""

    lengths: tuple[int, ...]
    offsets: Tensor
    """Start of each document and the end of the last: int32[len(lengths) + 1], on the device of the tokens."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Documents:
        offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(tuple(lengths), offsets.to(device))


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    sliding_window: int | None = None,
    documents: Documents | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document.

    Shapes: query [batch, heads, tokens, width], key and value [batch, key heads, keys, width]; returns
    [batch, tokens, heads, width]. Without `documents` each sequence is one document, and with fewer tokens than keys
    (a cache) the tokens are its last ones. Sequences of several documents have batch 1.
    """
    if attention_mask is not None:
        raise ValueError("packed attention takes documents, not a mask")
    if documents is None:
        return _attend(query, key, value, scaling=scaling, window=sliding_window).transpose(1, 2).contiguous(), None
    if _kernel_takes(query, sliding_window):
        return _varlen_kernel(query, key, value, documents, scaling, sliding_window), None
    queries, keys, values = (torch.split(tensor, list(documents.lengths), dim=2) for tensor in (query, key, value))
    outputs = [
        _attend(*document, scaling=scaling, window=sliding_window)
        for document in zip(queries, keys, values, strict=True)
    ]
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1), None


def _attend(query: Tensor, key: Tensor, value: Tensor, *, scaling: float, window: int | None) -> Tensor:
    num_queries, num_keys = query.shape[2], key.shape[2]
    mask = None
    if window is not None and num_keys > window:
        positions = torch.arange(num_keys, device=query.device)
        distance = positions[num_keys - num_queries :, None] - positions
        mask = (distance >= 0) & (distance < window)
    causal = mask is None and num_queries > 1
    if causal and num_queries != num_keys:
        raise ValueError("several new tokens behind a cache need a mask")
    dtype = query.dtype
    if query.device.type == "cpu":
        # Measured: torch's bf16 kernel takes twice the time of its fp32 kernel up to 200 tokens, and as long at 512.
        query, key, value = query.float(), key.float(), value.float()
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    ).to(dtype)


def _kernel_takes(query: Tensor, window: int | None) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and half and (window is None or "window_size" in _KERNEL_PARAMETERS)


def _varlen_kernel(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    options: dict[str, Any] = {"scale": scaling}
    # torch 2.10 spells causal `is_causal` and knows neither windows nor grouped heads.
    if "window_size" in _KERNEL_PARAMETERS:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    else:
        options["is_causal"] = True
    if "enable_gqa" in _KERNEL_PARAMETERS:
        options["enable_gqa"] = True
    else:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    queries, keys, values = (tensor.squeeze(0).transpose(0, 1).contiguous() for tensor in (query, key, value))
    longest = max(documents.lengths)
    output = varlen_attn(queries, keys, values, documents.offsets, documents.offsets, longest, longest, **options)
    if not isinstance(output, Tensor):
        raise TypeError("the kernel answers with a tensor unless it is asked for more")
    return output.unsqueeze(0)


def register() -> None:
    """Make `attn_implementation=IMPLEMENTATION` known to transformers."""
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
