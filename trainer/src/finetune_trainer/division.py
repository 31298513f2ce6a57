"""How the work of a step is divided so that it fits into the memory that there is, and what is said if it did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
import torch.distributed as dist

from finetune_api.contract import REASON_MICRO_BATCH_TOO_LARGE, ExitCode
from finetune_api.fit import Remedy, fit, remedy, room
from finetune_api.memory import GPU_CONTEXT, Choice, Training, estimate, least
from finetune_api.result import MicroBatch, Resolved
from finetune_api.shape import ModelShape
from finetune_api.snapshot import Snapshot
from finetune_api.spec import Spec
from finetune_api.strings import in_gib
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang
from finetune_trainer.packing import accumulation

_CLEARLY_LESS: Final = 0.9
"""Of what was estimated: a change that saves less may end in the same way."""


USABLE: Final = 0.92
"""Of a GPU's memory: the estimate is good to a tenth, and at one row there is nothing left to halve."""

_MOST_HALVINGS: Final = 3
"""What was foreseen is then wrong by so much that a person should know."""

_OUT_OF_MEMORY_IN_NCCL: Final = ("out of memory", "Failed to CUDA calloc", "Failed to CUDA malloc")
"""It allocates by itself, and says so only in the words of its last warning (NCCL's issues 962 and 1235)."""


@dataclass(frozen=True, kw_only=True)
class Division(Choice):
    """How the work of one optimizer step is divided."""

    micro_steps: int
    """Forward passes of a rank per optimizer step."""


def divide(snapshot: Snapshot, shape: ModelShape, resolved: Resolved, gang: Gang) -> Division:
    """What the spec says of it; for the rest what fits into the smallest GPU of the gang. Collective.

    Without GPUs, into the memory that the spec gives to a pod.
    """
    spec, batch_size = snapshot.spec, resolved.global_batch_size
    limit = None if snapshot.micro_batch is None else snapshot.micro_batch.fits
    choice = fit(
        spec,
        shape,
        precision=resolved.precision,
        global_batch_size=batch_size,
        available=_available(spec, gang),
        limit=limit,
    )
    if choice is None:
        # Preparation refuses what it knows not to fit. Who has a GPU already is not refused for an estimate.
        share = min(-(-batch_size // gang.world_size), limit or batch_size)
        training = Training.of(spec, shape, resolved.precision)
        choice = least(training, memory=spec.memory, deepspeed=spec.deepspeed, share=share)
    rows = choice.micro_batch_size
    return Division(
        zero_stage=choice.zero_stage,
        activation_checkpointing=choice.activation_checkpointing,
        micro_batch_size=rows,
        micro_steps=accumulation(batch_size, world_size=gang.world_size, micro_batch_size=rows),
    )


def _available(spec: Spec, gang: Gang) -> int | None:
    if gang.device.type != "cuda":
        given = room(spec)
        return None if given is None else given[1]
    free, total = torch.cuda.mem_get_info(gang.device)
    # By now this process has its context, which the estimate counts.
    return int(USABLE * min(gang.gather(min(total, free + GPU_CONTEXT))))


@contextmanager
def telling_what_fits(snapshot: Snapshot, shape: ModelShape, resolved: Resolved, division: Division) -> Iterator[None]:
    """A GPU that runs out of memory meanwhile raises StageFailed.

    MicroBatchTooLarge where half as many rows are tried next, GpuOutOfMemory at one row or after three halvings.
    """
    try:
        yield
    except (torch.cuda.OutOfMemoryError, dist.DistBackendError) as error:
        if isinstance(error, dist.DistBackendError) and not any(sign in str(error) for sign in _OUT_OF_MEMORY_IN_NCCL):
            raise
        raise _too_large(snapshot, shape, resolved, division) from error


def _too_large(snapshot: Snapshot, shape: ModelShape, resolved: Resolved, division: Division) -> StageFailed:
    """What was needed, and what to change."""
    spec, before = snapshot.spec, snapshot.micro_batch
    needed = estimate(Training.of(spec, shape, resolved.precision), division).total
    advised = _remedy(spec, shape, resolved, division, needed)
    rows, length = division.micro_batch_size, spec.training.sequence_length
    words = (
        f"a GPU ran out of memory over {rows} row{'s' * (rows > 1)} of {length} tokens, which were expected to take "
        f"{in_gib(needed)} with ZeRO {division.zero_stage} and activation checkpointing "
        f"{division.activation_checkpointing}: {f'try {advised}' if advised else 'take GPUs with more memory'}"
    )
    field = advised.field if advised else "spec.workers.gpuMemory"
    halvings = 0 if before is None else before.halvings
    if rows == 1 or halvings == _MOST_HALVINGS:
        return StageFailed(ExitCode.GPU_OUT_OF_MEMORY, "GpuOutOfMemory", words, field=field)
    failed = StageFailed(ExitCode.RETRY, REASON_MICRO_BATCH_TOO_LARGE, words, field=field)
    failed.micro_batch = MicroBatch(tried=rows, fits=rows // 2, halvings=halvings + 1)
    return failed


def _remedy(spec: Spec, shape: ModelShape, resolved: Resolved, division: Division, needed: int) -> Remedy | None:
    """A change of the spec as it was carried out, so that what was chosen for it can be changed, too."""
    chosen = {
        "micro_batch_size": division.micro_batch_size,
        "activation_checkpointing": division.activation_checkpointing,
    }
    carried_out = spec.model_copy(
        update={
            "memory": spec.memory.model_copy(update=chosen),
            "deepspeed": spec.deepspeed.model_copy(update={"zero_stage": division.zero_stage}),
        }
    )

    def takes_clearly_less(changed: Spec) -> bool:
        training = Training.of(changed, shape, resolved.precision)
        share = division.micro_batch_size
        choice = least(training, memory=changed.memory, deepspeed=changed.deepspeed, share=share)
        return estimate(training, choice).total <= _CLEARLY_LESS * needed

    return remedy(carried_out, takes_clearly_less)
