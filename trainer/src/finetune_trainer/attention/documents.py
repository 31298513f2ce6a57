"""Where the documents of one packed sequence lie, in the forms that kernels ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor

_STRETCH: Final = 1.25
"""Documents are computed together when the longest of them is at most so many times as long as the shortest."""
_SHORT: Final = 32
"""Tokens up to which a call costs more than what it computes: all of these go together."""


@dataclass(frozen=True)
class Batch:
    """Documents of nearly one length, computed by one call as if they all had it."""

    number: int
    length: int


@dataclass(frozen=True, eq=False)
class Padded:
    """The tokens of all batches end to end, each document filled up at its end with repetitions of its first token."""

    batches: tuple[Batch, ...]
    take: Tensor
    """int64[padded tokens]: which token stands at each place."""
    back: Tensor
    """int64[tokens]: the place of each token."""
    filled: Tensor
    """int64[places that no token comes back from]"""


@dataclass(frozen=True, eq=False)
class Documents:
    """Where the documents of one packed sequence lie."""

    lengths: tuple[int, ...]
    offsets: Tensor
    """Start of each document and the end of the last: int32[len(lengths) + 1], on the device of the tokens."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Documents:
        offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(tuple(lengths), offsets.to(device))

    @cached_property
    def longest(self) -> int:
        """Tokens."""
        return max(self.lengths)

    @cached_property
    def uniform(self) -> Batch | None:
        """All documents as one batch that needs no filling, if they have one length."""
        return Batch(len(self.lengths), self.longest) if min(self.lengths) == self.longest else None

    @cached_property
    def padded(self) -> Padded:
        """By length. A causal document never looks at what stands behind its end, so no mask is needed."""
        lengths = np.array(self.lengths, dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        order = np.argsort(-lengths, kind="stable")
        batches: list[Batch] = []
        take: list[np.ndarray] = []
        filled: list[np.ndarray] = []
        first = 0
        while first < len(order):
            length = int(lengths[order[first]])
            least = 1 if length <= _SHORT else length / _STRETCH
            together = order[first:][lengths[order[first:]] >= least]
            columns = np.arange(length)
            real = columns < lengths[together, None]
            take.append((starts[together, None] + np.where(real, columns, 0)).ravel())
            filled.append(~real.ravel())
            batches.append(Batch(len(together), length))
            first += len(together)
        taken, is_filled = np.concatenate(take), np.concatenate(filled)
        back = np.empty(int(lengths.sum()), dtype=np.int64)
        places = np.flatnonzero(~is_filled)
        back[taken[places]] = places
        device = self.offsets.device
        return Padded(
            tuple(batches),
            take=torch.from_numpy(taken).to(device),
            back=torch.from_numpy(back).to(device),
            filled=torch.from_numpy(np.flatnonzero(is_filled)).to(device),
        )
