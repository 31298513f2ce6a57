"""Which split a row belongs to: a function of its key, the seed and the percentages, of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_trainer.prepare.dedup import KEY_BYTES


class SplitName(IntEnum):
    """The three splits, in the order of their percentages."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


def group_key(value: object) -> bytes:
    """Equal for rows of one group."""
    return hashlib.blake2b(
        repr(value).encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES, person=b"group"
    ).digest()


def assign(keys: Iterable[bytes], split: spec.Split) -> NDArray[np.int8]:
    """A SplitName for each key. Adding rows never moves another; shares are met on average, not exactly."""
    seed = split.seed.to_bytes(8, "little")
    bounds = np.cumsum([split.train_percent, split.validation_percent])
    percentiles = np.fromiter((_percentile(key, seed) for key in keys), dtype=np.int8)
    return np.searchsorted(bounds, percentiles, side="right").astype(np.int8)


def _percentile(key: bytes, seed: bytes) -> int:
    """0 to 99, evenly."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=seed).digest(), "little") * 100 >> 64
