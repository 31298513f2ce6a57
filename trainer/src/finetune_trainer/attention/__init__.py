"""Attention over packed rows in which no document sees another, plugged into transformers' own Mistral code.

A forward pass gets one sequence of many documents and their lengths; a row × row mask never exists.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from finetune_api.spec import AttentionKernel
from finetune_trainer.attention.documents import Documents
from finetune_trainer.attention.kernels import attention_of, choose, obstacles
from finetune_trainer.attention.sdpa import sequences_attention
from finetune_trainer.attention.varlen import Attention

__all__ = ["Documents", "implementation"]


def implementation(
    asked: AttentionKernel | None, *, device: torch.device, dtype: torch.dtype, windowed: bool = False
) -> str:
    """Name for `attn_implementation`, registered with transformers; it has no mask function, so no mask is built.

    Raises StageFailed when what was asked for is not there; `windowed` says whether any layer has a sliding window.
    """
    kernel = choose(asked, obstacles(device, dtype, windowed=windowed))
    name = f"packed_{kernel.lower()}"
    AttentionInterface.register(name, packed_attention(attention_of(kernel, device)))
    return name


def packed_attention(attend: Attention) -> Any:
    """What transformers calls in each layer.

    Shapes: query [batch, heads, tokens, width], key and value [batch, key heads, keys, width]; returns
    [batch, tokens, heads, width]. Without `documents` each sequence is one document, and with fewer tokens than keys
    (a cache) the token is its last one. Sequences of several documents have batch 1.
    """

    def attention(
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
        if attention_mask is not None:
            raise ValueError("packed attention takes documents, not a mask")
        if documents is None:
            found = sequences_attention(query, key, value, scaling=scaling, window=sliding_window)
            return found.transpose(1, 2).contiguous(), None
        return attend(query, key, value, documents, scaling=scaling, window=sliding_window), None

    # Documents differ from step to step: what is compiled for one would be compiled anew for the next.
    return torch.compiler.disable(attention)  # type: ignore[no-untyped-call]
