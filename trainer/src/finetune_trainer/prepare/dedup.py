"""Exact duplicates, found by fingerprint; of rows with the same texts the first in row order is kept."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.tasks.rows import Messages

KEY_BYTES: Final = 16


def content_key(messages: Messages) -> bytes:
    """Equal for rows whose texts differ in nothing but Unicode composition and outer white space."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for role, content in messages:
        text = unicodedata.normalize("NFC", content.strip()).encode()
        digest.update(f"{role}:{len(text)}:".encode() + text)
    return digest.digest()


def first_occurrences(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each row of `keys` (N × 2) the index of the first row that equals it: its own, unless it is a duplicate."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: equal keys stay in row order
    ordered = keys[order]
    starts = np.ones(len(keys), dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first
