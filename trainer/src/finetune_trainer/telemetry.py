"""How fast a run went, what it held and when it was started: beside its History, for in this equal runs differ."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from finetune_api.model import Model
from finetune_api.progress import Activity
from finetune_api.spec import ActivationCheckpointing
from finetune_trainer.thinning import added

MAX_READINGS = 500
"""Beyond it every other reading is let go: it is part of every checkpoint's manifest."""

MAX_STARTS = 100
MAX_MOMENTS = 500
"""Beyond them the earliest are let go."""


class Start(Model):
    """One start of the gang, and how it divided the work of an optimizer step."""

    attempt: int
    step: int
    """Optimizer steps that were done."""
    time: datetime
    world_size: int
    zero_stage: int
    micro_batch_size: int
    """Packed rows in one forward pass."""
    micro_steps: int
    """Forward passes of a rank."""
    activation_checkpointing: ActivationCheckpointing


class Moment(Model):
    """When an attempt took something up."""

    attempt: int
    activity: Activity
    time: datetime


class Reading(Model):
    """After an optimizer step."""

    step: int
    time: datetime
    tokens_per_second: float
    memory_bytes: int
    """Most that rank 0 has held."""


class Telemetry(Model):
    """Grows by `with_…`. What was read after a checkpoint is lost with the attempt, as its steps are."""

    starts: tuple[Start, ...] = ()
    moments: tuple[Moment, ...] = ()
    readings: tuple[Reading, ...] = ()
    every: int = 1
    """Steps between two readings."""

    def with_start(self, start: Start) -> Self:
        return self.model_copy(update={"starts": (*self.starts, start)[-MAX_STARTS:]})

    def with_moments(self, *moments: Moment) -> Self:
        return self.model_copy(update={"moments": (*self.moments, *moments)[-MAX_MOMENTS:]})

    def with_reading(self, reading: Reading) -> Self:
        # After a roll-back steps are taken again.
        earlier = tuple(kept for kept in self.readings if kept.step < reading.step)
        readings, every = added(earlier, reading, every=self.every, most=MAX_READINGS)
        return self.model_copy(update={"readings": readings, "every": every})
