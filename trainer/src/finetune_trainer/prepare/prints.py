"""The fingerprint of a row, 64 bytes: which rows it equals, and which it is like, without its text."""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from finetune_trainer.prepare.words import Runs, hashed_words, learnt_text, mixed, ngrams
from finetune_trainer.tasks.labels import LABEL
from finetune_trainer.tasks.rows import Messages

LIBRARIES: Final = {"rensa": version("rensa"), "unicode": unicodedata.unidata_version, "prints": "2"}
"""Versions of what decides which rows are alike; the last is that of the fingerprint itself."""
PERMUTATIONS: Final = 128
BANDS: Final = 16
SHINGLE_WORDS: Final = 5
FEWEST_WORDS: Final = 20
"""Shorter rows have too few shingles to be told apart by: only those that equal each other are duplicates."""

PRINT: Final = np.dtype(
    [
        ("content", "<u8", 2),  # of all but the last text, and of the last
        ("sketch", "<u8", PERMUTATIONS // 64),  # the lowest bit of each permutation's minimum: b-bit minwise hashing
        ("bands", "<u2", BANDS),  # of the whole minima of each band
    ]
)
"""All zero behind `content` where a row has fewer than FEWEST_WORDS."""

_SEED = 20_261_123
_BAND_ROWS = PERMUTATIONS // BANDS
_BATCH = 128  # rensa starts threads of its own from 256 rows on, and a process that forks must have none
_WEIGHTS = mixed(np.arange(_BAND_ROWS, dtype=np.uint64)) | np.uint64(1)


def content_key(messages: Messages) -> bytes:
    """16 bytes; equal for rows whose texts differ in nothing but Unicode composition and outer white space.

    Definitions of tools, calls and results are texts; ids of calls, which are drawn at random, are not.
    Where there are several texts, the first half is of what is asked and the second of the last answer, or of the
    labels; a text without labels has the first half of the same text with some.
    """
    if messages[-1].role == LABEL:
        return _hash(messages[:1], 16)[:8] + _hash(messages[1:], 8)
    if len(messages) == 1:
        return _hash(messages, 16)
    return _hash(messages[:-1], 8) + _hash(messages[-1:], 8)


def _hash(messages: Messages, size: int) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for message in messages:
        _digest_text(digest, message.role, message.content)
        for call in message.calls:
            _digest_text(digest, "name", call.name)
            _digest_text(digest, "arguments", call.arguments)
    return digest.digest()


def _digest_text(digest: hashlib.blake2b, kind: str, text: str) -> None:
    encoded = unicodedata.normalize("NFC", text.strip()).encode()
    digest.update(f"{kind}:{len(encoded)}:".encode() + encoded)


def prints_of(rows: Sequence[Messages]) -> NDArray[np.void]:
    """The PRINT of each row, a function of its texts only."""
    prints = np.zeros(len(rows), dtype=PRINT)
    prints["content"] = np.frombuffer(b"".join(map(content_key, rows)), dtype="<u8").reshape(-1, 2)
    for start in range(0, len(rows), _BATCH):
        words = hashed_words([learnt_text(messages) for messages in rows[start : start + _BATCH]])
        long = np.diff(words.offsets) >= FEWEST_WORDS
        if long.any():
            minima = _minima(ngrams(words, SHINGLE_WORDS))[long]
            places = np.flatnonzero(long) + start
            bits = (minima & np.uint32(1)).astype(np.uint8)
            prints["sketch"][places] = np.packbits(bits, axis=1, bitorder="little").view("<u8")
            prints["bands"][places] = _bands(minima)
    return prints


def _minima(shingles: Runs) -> NDArray[np.uint32]:
    """Shape (texts, PERMUTATIONS)."""
    offsets = shingles.offsets.astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles.values, offsets, PERMUTATIONS, _SEED)
    minima = array("I")
    for numbers in matrix.to_rows():
        minima.fromlist(numbers)  # three times as fast as numpy reads lists
    return np.frombuffer(minima, dtype=np.uint32).reshape(-1, PERMUTATIONS)


def _bands(minima: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Shape (rows, BANDS)."""
    banded = minima.reshape(len(minima), BANDS, _BAND_ROWS).astype(np.uint64)
    hashes: NDArray[np.uint64] = mixed((banded * _WEIGHTS).sum(axis=2, dtype=np.uint64))
    return (hashes >> np.uint64(48)).astype(np.uint16)


def band_keys(prints: NDArray[np.void]) -> NDArray[np.uint32]:
    """28 bits for each band of each row, equal where the rows' minima in that band are; shape (rows, BANDS).

    The sketch holds eight bits of what a band is about, so that two bytes more are enough for its name.
    """
    sketched = np.ascontiguousarray(prints["sketch"]).view(np.uint8).astype(np.uint32)
    numbers = np.arange(BANDS, dtype=np.uint32) << np.uint32(24)
    return numbers | (prints["bands"].astype(np.uint32) << np.uint32(8)) | sketched


def has_sketch(prints: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows have words enough to be like others."""
    found: NDArray[np.bool_] = (prints["sketch"] != 0).any(axis=1)
    return found


def resemble(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether rows with these sketches, shape (N, 2), have a Jaccard similarity of about 0.8 or more."""
    differing: NDArray[np.int64] = np.bitwise_count(left ^ right).sum(axis=1, dtype=np.int64)
    return differing <= PERMUTATIONS - _ALIKE_BITS


_ALIKE_BITS = 115
"""Of bits whose minima differ half agree: 0.8 of 128 minima are 102.4, and half of the other 25.6 are 12.8."""
