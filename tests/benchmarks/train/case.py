"""What both trainers learn from: a small Mistral, and documents whose lengths are distributed as data's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROW: Final = 1024
"""Tokens of a packed row, and of the longest document."""
VOCABULARY: Final = 8192
SHAPE: Final[Mapping[str, Any]] = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": ROW,
    "tie_word_embeddings": False,
}
"""Of config.json."""
RANK: Final = 16
MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
DISTRIBUTIONS: Final = ("chat", "tweets", "articles")
"""chat: log-normal, median 245 · tweets: even, 5 to 60 · articles: long tail from 80."""
FULL: Final = "full"
"""Each document as long as a row."""
TOKENS: Final = {"chat": 32_768, "tweets": 16_384, "articles": 32_768, FULL: 32_768}
"""At least so many in all."""


def lengths_of(distribution: str) -> list[int]:
    """Tokens of each document, the same at every call."""
    random = np.random.default_rng(5)
    drawn: dict[str, NDArray[Any]] = {
        "chat": random.lognormal(5.5, 0.6, 10_000).clip(8, ROW),
        "tweets": random.integers(5, 61, 10_000),
        "articles": (random.pareto(1.2, 10_000) * 60 + 80).clip(1, ROW),
        FULL: np.full(10_000, ROW),
    }
    lengths = drawn[distribution].astype(int)
    return lengths[: int(np.searchsorted(np.cumsum(lengths), TOKENS[distribution])) + 1].tolist()  # type: ignore[no-any-return]


def documents(distribution: str) -> list[list[int]]:
    """Token ids; every token is learnt from."""
    random = np.random.default_rng(6)
    return [random.integers(3, VOCABULARY, length).tolist() for length in lengths_of(distribution)]
