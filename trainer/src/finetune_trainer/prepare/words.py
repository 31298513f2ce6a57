"""Texts as hashed words and word n-grams: what near duplicates and contamination are told by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.tasks.labels import LABEL
from finetune_trainer.tasks.rows import OF_TOOLS, Messages
from finetune_trainer.tokenizers import Message

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_LAST_SEPARATOR: Final = 0x20
_FIRST_BYTES: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
_LONG_WORD: Final = 512
"""Bytes that are looked at by eight: a sentence of a script without blanks is one word."""
APART: Final = OF_TOOLS | {"system", LABEL}
"""Roles of what is no part of a row's learnt text."""


def learnt_text(messages: Messages) -> str:
    """What user and assistant say, calls included. The rest is the same in many rows that are not alike."""
    return "\n".join(_said(message) for message in messages if message.role not in APART)


def _said(message: Message) -> str:
    if not message.calls:
        return message.content
    return "\n".join([message.content, *(f"{call.name} {call.arguments}" for call in message.calls)])


class Runs(NamedTuple):
    """Values of several texts behind each other: those of text number i are values[offsets[i]:offsets[i + 1]]."""

    values: NDArray[np.uint64]
    offsets: NDArray[np.int64]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The number of each value's text; shape (values,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def hashed_words(texts: Sequence[str]) -> Runs:
    """One hash for each word of each text: lower case, divided at ASCII white space and controls."""
    encoded = [text.lower().encode() for text in texts]
    # Every word stands between two separators, and eight bytes can be read from any of its bytes.
    content = b"\n".join([b"", *encoded, bytes(8)])
    separators = np.flatnonzero(np.frombuffer(content, dtype=np.uint8) <= _LAST_SEPARATOR)
    starts = separators[:-1] + 1
    sizes = separators[1:] - starts
    starts, sizes = starts[sizes > 0], sizes[sizes > 0]
    eight = np.ndarray(len(content) - 7, dtype="<u8", buffer=content, strides=(1,))
    hashes = np.zeros(len(starts), dtype=np.uint64)
    words = np.arange(len(starts))
    for done in range(0, _LONG_WORD, 8):
        piece = eight[starts[words] + done] & _FIRST_BYTES[np.minimum(sizes[words] - done, 8)]
        hashes[words] = _joined(hashes[words], piece)
        words = words[sizes[words] > done + 8]
        if not len(words):
            break
    for word in words.tolist():  # no word, but data
        hashes[word] ^= np.uint64(crc32(content[starts[word] : starts[word] + sizes[word]]))
    firsts = np.cumsum([1, *(len(one) + 1 for one in encoded)])
    return Runs(hashes, np.searchsorted(starts, firsts))


def ngrams(words: Runs, size: int) -> Runs:
    """A hash, evenly distributed, of each run of `size` words of one text."""
    counts = np.maximum(np.diff(words.offsets) - size + 1, 0)
    offsets = np.append(0, np.cumsum(counts))
    # As if there were no bounds between texts, and of these the ones that cross none. Runs of 13 words are made of
    # runs of 12, these of runs of 6, of 3, of 2 and of single ones.
    grams, joined = words.values, 1
    for digit in f"{size:b}"[1:]:
        grams, joined = _joined(grams[:-joined], grams[joined:]), 2 * joined
        if digit == "1":
            grams, joined = _joined(grams[:-1], words.values[joined:]), joined + 1
    return Runs(grams[np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], counts)], offsets)


def _joined(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes of what the hashes on the left are of, and behind it what those on the right are of."""
    hashes = left * _GOLDEN
    hashes ^= left >> np.uint64(29)
    hashes += right
    hashes *= _GOLDEN
    hashes ^= hashes >> np.uint64(32)
    return hashes


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each value as an evenly distributed one, by the finalizer of SplitMix64."""
    values = values + _GOLDEN
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)  # in place: of all rows, this is much
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values
