"""How fast a run went, what it held and when it was started: beside its History, for in this equal runs differ."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from finetune_api.model import Model
from finetune_trainer.thinning import added

MAX_READINGS = 500
"""Beyond it every other reading is let go: it is part of every checkpoint's manifest."""


class Start(Model):
    """One start of the gang."""

    attempt: int
    step: int
    """Optimizer steps that were done."""
    world_size: int
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
    readings: tuple[Reading, ...] = ()
    every: int = 1
    """Steps between two readings."""

    def with_start(self, start: Start) -> Self:
        return self.model_copy(update={"starts": (*self.starts, start)})

    def with_reading(self, reading: Reading) -> Self:
        # After a roll-back steps are taken again.
        earlier = tuple(kept for kept in self.readings if kept.step < reading.step)
        readings, every = added(earlier, reading, every=self.every, most=MAX_READINGS)
        return self.model_copy(update={"readings": readings, "every": every})
