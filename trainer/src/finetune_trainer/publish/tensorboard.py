"""Curves as an event file that TensorBoard reads: what report.html draws, for those who compare runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tensorboardX.event_file_writer import EventFileWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from finetune_trainer.history import History
from finetune_trainer.telemetry import Telemetry

EVENTS: Final = "reports/tensorboard/events.out.tfevents.0"
"""TensorBoard knows an event file by `tfevents`; the writer's own name would tell of the machine."""


def write_events(folder: Path, history: History, telemetry: Telemetry) -> None:
    """Write EVENTS below `folder`. A point's time is that of the reading at its step, or of the one before.

    Before the first reading it is that of the first start.
    """
    path = folder / EVENTS
    path.parent.mkdir(parents=True)
    times = {reading.step: reading.time.timestamp() for reading in telemetry.readings}
    writer = EventFileWriter(str(path.parent))
    now = telemetry.starts[0].time.timestamp() if telemetry.starts else 0.0
    for step, name, value in sorted(_points(history, telemetry)):
        now = times.get(step, now)
        writer.add_event(Event(summary=scalar(name, value), step=step, wall_time=now))
    writer.close()
    (written,) = path.parent.iterdir()
    written.rename(path)


def _points(history: History, telemetry: Telemetry) -> Iterator[tuple[int, str, float]]:
    for point in history.points:
        yield point.step, "train/loss", point.loss
        yield point.step, "train/learning_rate", point.learning_rate
        yield point.step, "train/gradient_norm", point.gradient_norm
    for validation in history.validations:
        yield validation.step, "validation/loss", validation.loss
        yield validation.step, "validation/accuracy", validation.accuracy
    for reading in telemetry.readings:
        yield reading.step, "machine/tokens_per_second", reading.tokens_per_second
        yield reading.step, "machine/memory_gib", reading.memory_bytes / 2**30
    if history.latest is not None:
        last = history.latest.step
        for name, value in history.metrics.model_dump().items():
            if value is not None:
                yield last, f"final/{name}", value
