"""The rows that a model is measured on, and their way to the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from finetune_trainer.gang import Gang
from finetune_trainer.packing import Rows, accumulation, micro_batches, pack_epoch
from finetune_trainer.prepared import Documents
from finetune_trainer.tokens import Tokens, tokens_of

M = TypeVar("M", bound=nn.Module, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Examinee(Generic[M]):
    """A model that is measured, and the ranks that do it together."""

    model: M
    gang: Gang
    micro_batch_size: int
    beat: Callable[[], None]
    """Called whenever a little is done."""

    def micro_batches(self, documents: Documents, rows: Rows) -> Iterator[Tokens]:
        """This rank's share of the rows, one forward pass each. Dummies keep their number equal on all ranks."""
        share = micro_batches(
            rows,
            micro_steps=accumulation(
                len(rows), world_size=self.gang.world_size, micro_batch_size=self.micro_batch_size
            ),
            micro_batch_size=self.micro_batch_size,
            rank=self.gang.rank,
            world_size=self.gang.world_size,
        )
        for placed in share:
            yield tokens_of(documents, placed, self.gang.device)
            self.beat()


def evaluated_rows(documents: Documents, *, sequence_length: int, max_rows: int) -> Rows:
    """Packed rows of the documents of the first `max_rows` raw rows: the same at every evaluation."""
    num_documents = int(np.isin(documents.rows, np.unique(documents.rows)[:max_rows]).sum())
    return pack_epoch(documents.lengths[:num_documents], sequence_length=sequence_length, seed=0, epoch=0)


def first_of_rows(documents: Documents, num_rows: int) -> list[int]:
    """The first document of each of the first raw rows."""
    _, first = np.unique(documents.rows, return_index=True)
    return [int(index) for index in first[:num_rows]]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Nothing is dropped, and nothing kept for a backward pass."""
    was_training = model.training
    model.eval()
    try:
        # Not inference_mode: under ZeRO-3, weights that are gathered in it could not be trained on.
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
