"""Rows of documents as the tensors of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune_trainer.attention import Documents
from finetune_trainer.packing import PlacedRow


class EncodedDocuments(Protocol):
    """Documents by index: ids int32[length], True in mask bool[length] where something is learnt, ids of its labels.

    A document may be several linked sequences, of which none sees another: `breaks` are where all but the first begin.
    """

    def ids(self, index: int, /) -> NDArray[np.int32]: ...

    def mask(self, index: int, /) -> NDArray[np.bool_]: ...

    def labels(self, index: int, /) -> tuple[int, ...]: ...

    def breaks(self, index: int, /) -> tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class Tokens:
    """The documents of some rows, one after the other, without padding."""

    ids: Tensor
    """int64[1, tokens]"""
    positions: Tensor
    """int64[1, tokens]: from 0 in each sequence."""
    documents: Documents
    """Of several linked sequences each is one to attention."""
    predictors: Tensor
    """int64[labelled]: where the token before each labelled one lies."""
    targets: Tensor
    """int64[labelled]: the labelled tokens."""
    owners: Tensor
    """int64[labelled]: number of the sequence that each lies in."""
    marks: Tensor
    """int64[marked]: where the masks are True; of a task with labels, the last token of each document."""
    numbers: tuple[int, ...]
    """The documents, without dummies."""
    labels: tuple[tuple[int, ...], ...]
    """Of each of these the ids of its labels, where the task has some."""
    sequences: tuple[tuple[int, ...], ...]
    """Of each of these the numbers of its sequences."""
    rows: tuple[tuple[int, int], ...]
    """(place in the batch, tokens) of each row."""


def tokens_of(documents: EncodedDocuments, rows: Sequence[PlacedRow], device: torch.device) -> Tokens:
    """The rows as one sequence. A dummy row is one token that no other sees and nothing is learnt from."""
    ids: list[np.ndarray] = []
    labelled: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    sequences: list[tuple[int, ...]] = []
    for row in rows:
        first = len(ids)
        for document in row.documents:
            breaks, before = list(documents.breaks(document)), len(ids)
            ids += np.split(documents.ids(document), breaks)
            labelled += np.split(documents.mask(document), breaks)
            sequences.append(tuple(range(before, len(ids))))
        if not row.documents:
            ids.append(np.zeros(1, np.int32))
            labelled.append(np.zeros(1, np.bool_))
        sizes.append((row.place, sum(len(part) for part in ids[first:])))
    numbers = [document for row in rows for document in row.documents]
    joined = np.concatenate(ids).astype(np.int64)
    # The first token of a sequence has nothing that it could be predicted from.
    targets = np.concatenate([np.concatenate([[False], mask[1:]]) for mask in labelled]).nonzero()[0]
    return Tokens(
        ids=_on(device, joined[None]),
        positions=_on(device, np.concatenate([np.arange(len(part)) for part in ids])[None]),
        documents=Documents.of([len(part) for part in ids], device),
        predictors=_on(device, targets - 1),
        targets=_on(device, joined[targets]),
        owners=_on(device, np.repeat(np.arange(len(ids)), [len(part) for part in ids])[targets]),
        marks=_on(device, np.concatenate(labelled).nonzero()[0]),
        numbers=tuple(numbers),
        labels=tuple(documents.labels(number) for number in numbers),
        sequences=tuple(sequences),
        rows=tuple(sizes),
    )


def _on(device: torch.device, values: NDArray[np.int64]) -> Tensor:
    """From page-locked memory, for otherwise the host would wait until the device has done all that is queued."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
