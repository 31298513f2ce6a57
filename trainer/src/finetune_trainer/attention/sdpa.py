"""PyTorch's scaled_dot_product_attention over batches of documents, and over blocks of documents behind a window."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from finetune_trainer.attention.documents import Batch, Documents, Padded

_BLOCK: Final = 512
"""Queries that share a mask behind a window, which is then never larger than this × (window + this)."""


def documents_attention(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, *, scaling: float, window: int | None
) -> Tensor:
    """Causal attention within each document; see `packed_attention` for shapes."""
    rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    if documents.uniform is not None:
        return _together(documents.uniform, rows, scaling, window)[None]
    padded = documents.padded
    sizes = [batch.number * batch.length for batch in padded.batches]
    filled = zip(*(torch.split(_Fill.apply(tensor, padded), sizes) for tensor in rows), strict=True)
    outputs = [
        _together(batch, tensors, scaling, window) for batch, tensors in zip(padded.batches, filled, strict=True)
    ]
    found: Tensor = _Unfill.apply(torch.cat(outputs), padded)
    return found[None]


def _together(batch: Batch, rows: Iterable[Tensor], scaling: float, window: int | None) -> Tensor:
    """Of query, key and value, each [number · length, heads, width], the answer, of that shape."""
    query, key, value = (
        tensor.reshape(batch.number, batch.length, *tensor.shape[1:]).transpose(1, 2) for tensor in rows
    )
    return sequences_attention(query, key, value, scaling=scaling, window=window).transpose(1, 2).flatten(0, 1)


def sequences_attention(query: Tensor, key: Tensor, value: Tensor, *, scaling: float, window: int | None) -> Tensor:
    """Causal attention of each sequence, [sequences, heads, tokens, width]; one token more may follow on a cache."""
    tokens, keys = query.shape[2], key.shape[2]
    if tokens != keys:
        if tokens > 1:
            raise ValueError("several new tokens behind a cache need a mask")
        recent = keys if window is None else min(keys, window)
        return _sdpa(query, key[:, :, -recent:], value[:, :, -recent:], scaling)
    if window is None or tokens <= window:
        return _sdpa(query, key, value, scaling, is_causal=tokens > 1)
    first = slice(0, window)
    parts = [_sdpa(query[:, :, first], key[:, :, first], value[:, :, first], scaling, is_causal=True)]
    # Each query sees itself and the window - 1 keys before it.
    block = min(_BLOCK, tokens - window)
    band = torch.ones(block, block + window - 1, dtype=torch.bool, device=query.device).triu().tril(window - 1)
    for start in range(window, tokens, block):
        end = min(start + block, tokens)
        seen = slice(start - window + 1, end)
        mask = band[: end - start, : end - start + window - 1]
        parts.append(_sdpa(query[:, :, start:end], key[:, :, seen], value[:, :, seen], scaling, attn_mask=mask))
    return torch.cat(parts, dim=2)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float, **options: Any) -> Tensor:
    dtype = query.dtype
    if query.device.type == "cpu":
        # Measured: forward and backward of torch's bf16 kernel take two to six times as long up to 128 tokens, and as
        # long as in fp32 at 512.
        query, key, value = query.float(), key.float(), value.float()
    return functional.scaled_dot_product_attention(
        query, key, value, scale=scaling, enable_gqa=query.shape[1] != key.shape[1], **options
    ).to(dtype)


class _Fill(torch.autograd.Function):
    """[tokens, …] → [padded tokens, …]. What autograd would do backwards, adding up by index, takes far longer."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, padded: Padded) -> Tensor:
        ctx.padded = padded
        return tensor.index_select(0, padded.take)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # What stands behind a document's end is seen by none of it, so nothing comes back from there.
        return gradient.index_select(0, ctx.padded.back), None


class _Unfill(torch.autograd.Function):
    """[padded tokens, …] → [tokens, …]"""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, padded: Padded) -> Tensor:
        ctx.padded = padded
        return tensor.index_select(0, padded.back)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.padded.take).index_fill_(0, ctx.padded.filled, 0), None
