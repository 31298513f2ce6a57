"""PyTorch's flex_attention with a block mask of documents, compiled: for any dtype and window."""

from __future__ import annotations

import importlib
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from finetune_trainer import compilation
from finetune_trainer.attention.documents import Documents


def documents_attention(
    query: Tensor, key: Tensor, value: Tensor, documents: Documents, *, scaling: float, window: int | None
) -> Tensor:
    """Causal attention within each document; see `packed_attention` for shapes."""
    # Not compiled it is the definition of itself, with a score for each pair of tokens.
    attend = _compiled() if query.is_cuda else _flex().flex_attention
    found: Tensor = attend(
        query,
        key,
        value,
        block_mask=block_mask(documents, window),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found.transpose(1, 2).contiguous()


@lru_cache(maxsize=2)
def block_mask(documents: Documents, window: int | None) -> Any:
    """The blocks of tokens that see one another: the same for all layers with this window."""
    document_of = torch.bucketize(
        torch.arange(sum(documents.lengths), device=documents.offsets.device), documents.offsets[1:], right=True
    )

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (document_of[query] == document_of[key]) & (key <= query)
        return seen if window is None else seen & (query - key < window)

    tokens = len(document_of)
    return _flex().create_block_mask(
        sees, None, None, tokens, tokens, device=document_of.device, _compile=document_of.is_cuda
    )


@cache
def _compiled() -> Any:
    compilation.allow()
    return torch.compile(_flex().flex_attention)


def _flex() -> Any:
    """Imported late: it brings all of torch.compile along."""
    return importlib.import_module("torch.nn.attention.flex_attention")


def obstacle(device: torch.device) -> str | None:
    """Why it cannot be called."""
    return "it runs on GPUs only" if device.type != "cuda" else compilation.obstacle()
