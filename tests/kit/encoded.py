"""Documents of random tokens, in memory: what the trainer reads of prepared data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """Of each document the last half of its tokens is labelled."""

    documents: tuple[NDArray[np.int32], ...]

    @classmethod
    def random(cls, lengths: list[int], *, vocab_size: int, seed: int = 0) -> Encoded:
        random = np.random.default_rng(seed)
        return cls(tuple(random.integers(0, vocab_size, length).astype(np.int32) for length in lengths))

    @property
    def lengths(self) -> NDArray[np.int32]:
        return np.array([len(ids) for ids in self.documents], np.int32)

    @property
    def trained(self) -> NDArray[np.int32]:
        return self.lengths // 2

    @property
    def items(self) -> NDArray[np.int32]:
        return self.trained

    @property
    def rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.documents), dtype=np.int64)

    def ids(self, index: int) -> NDArray[np.int32]:
        return self.documents[index]

    def mask(self, index: int) -> NDArray[np.bool_]:
        length = len(self.documents[index])
        return np.arange(length) >= length - length // 2

    def breaks(self, _index: int) -> tuple[int, ...]:
        return ()

    def labels(self, _index: int) -> tuple[int, ...]:
        return ()


class Pairs(Encoded):
    """Of each document two linked halves, of each of which the last third is labelled."""

    @property
    def trained(self) -> NDArray[np.int32]:
        return np.array([self.mask(index).sum() for index in range(len(self.documents))], np.int32)

    @property
    def items(self) -> NDArray[np.int32]:
        return np.ones(len(self.documents), np.int32)

    def breaks(self, index: int) -> tuple[int, ...]:
        return (len(self.documents[index]) // 2,)

    def mask(self, index: int) -> NDArray[np.bool_]:
        (first,) = self.breaks(index)
        halves = (first, len(self.documents[index]) - first)
        return np.concatenate([np.arange(length) >= length - length // 3 for length in halves])
