"""How long optimizer steps would take if every GPU worked at its peak: what a model FLOPs utilisation (MFU) is of.

Pure. Only the model's own arithmetic counts, over the real lengths of a batch's documents: see finetune_api.flops.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from finetune_api.flops import flops, gpu_named
from finetune_api.memory import Training
from finetune_api.spec import Precision
from finetune_trainer.packing import Batch
from finetune_trainer.prepared import Documents


@dataclass(frozen=True)
class AtPeak:
    """A gang whose GPUs do nothing but what the model needs."""

    training: Training
    documents: Documents
    """That are trained on."""
    gpu: str | None
    """As the driver calls each of the gang's; None on CPU."""

    def seconds(self, batch: Batch) -> float | None:
        """Of one optimizer step; None where no peak is known: on CPU, on other GPUs, and in fp32."""
        known = None if self.gpu is None else gpu_named(self.gpu)
        if known is None or self.training.precision is not Precision.BFLOAT16:
            return None
        labelled = int(self.documents.trained[batch.documents].sum())
        work = flops(self.training, self._lengths(batch.documents), labelled=labelled).total
        return work / (known.peak * self.training.world_size)

    def _lengths(self, chosen: list[int]) -> list[int]:
        """Of their sequences, which of pairs are two."""
        lengths: list[int] = self.documents.lengths[chosen].tolist()
        if not self.training.has_reference:
            return lengths
        edges = ([0, *self.documents.breaks(index), end] for index, end in zip(chosen, lengths, strict=True))
        return [end - start for ends in edges for start, end in pairwise(ends)]
