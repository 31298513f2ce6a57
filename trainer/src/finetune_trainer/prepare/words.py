"""Texts as hashed words and word n-grams: what near duplicates and contamination are told by."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.tasks.labels import LABEL
from finetune_trainer.tasks.rows import OF_TOOLS, Messages
from finetune_trainer.tokenizers import Message

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_APART = OF_TOOLS | {"system", LABEL}


def learnt_text(messages: Messages) -> str:
    """What user and assistant say, calls included. The rest is the same in many rows that are not alike."""
    return "\n".join(_said(message) for message in messages if message.role not in _APART)


def _said(message: Message) -> str:
    if not message.calls:
        return message.content
    return "\n".join([message.content, *(f"{call.name} {call.arguments}" for call in message.calls)])


def hashed_words(text: str) -> NDArray[np.uint64]:
    """One hash for each word, shape (words,); lower case, divided at ASCII white space."""
    words = text.lower().encode().split()
    return np.fromiter(map(crc32, words), dtype=np.uint64, count=len(words))


def ngrams(words: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """A hash, evenly distributed, of each run of `size` words; shape (words - size + 1,), or (0,)."""
    count = max(0, len(words) - size + 1)
    grams = np.zeros(count, dtype=np.uint64)
    for start in range(size if count else 0):
        grams ^= words[start : start + count]
        grams *= _GOLDEN
        grams ^= grams >> np.uint64(29)
    return grams


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value as an evenly distributed one, by the finalizer of SplitMix64."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
