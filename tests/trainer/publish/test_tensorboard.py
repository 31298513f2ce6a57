"""The event file, read back record by record: length, its checksum, an Event, its checksum."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune_api.spec import ActivationCheckpointing
from finetune_trainer.history import History, Point, Score, Validation
from finetune_trainer.telemetry import Reading, Start, Telemetry
from preloaded import Preloaded

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def read_back(folder: str, history: str, telemetry: str) -> dict[str, Any]:
    """What is written of them: files, curves and times. In a rank, for its library imports PyTorch."""
    from tensorboardX.proto.event_pb2 import Event

    from finetune_trainer.publish.tensorboard import EVENTS, write_events

    home = Path(folder)
    write_events(home, History.model_validate_json(history), Telemetry.model_validate_json(telemetry))
    assert [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()] == [EVENTS]
    content, events = (home / EVENTS).read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return {
        "curves": [[event.step, value.tag, value.simple_value] for event in events for value in event.summary.value],
        "times": sorted({event.wall_time for event in events[1:]}),
    }


def written(preloaded: Preloaded, folder: Path, history: History, telemetry: Telemetry) -> dict[str, Any]:
    (found,) = preloaded.run(
        read_back, folder=str(folder), history=history.model_dump_json(), telemetry=telemetry.model_dump_json()
    )
    return found


def test_curves_are_read_back_and_the_file_names_no_machine(preloaded, tmp_path):
    points = tuple(Point(step=step, loss=4.0 / step, learning_rate=0.5, gradient_norm=2.0) for step in (1, 2))
    validation = Validation(step=2, loss=3.0, accuracy=0.25)
    history = History(
        latest=points[-1],
        points=points,
        validations=(validation,),
        last_validation=validation,
        base_test=Score(loss=4.0, accuracy=0.5),
        test=Score(loss=2.0, accuracy=0.75),
    )
    reading = Reading(step=1, time=NOON, tokens_per_second=100.0, memory_bytes=3 * 2**29)
    found = written(preloaded, tmp_path, history, Telemetry(readings=(reading,)))
    assert {tuple(value) for value in found["curves"]} == {
        (1, "train/loss", 4.0),
        (1, "train/learning_rate", 0.5),
        (1, "train/gradient_norm", 2.0),
        (1, "machine/tokens_per_second", 100.0),
        (1, "machine/memory_gib", 1.5),
        (2, "train/loss", 2.0),
        (2, "train/learning_rate", 0.5),
        (2, "train/gradient_norm", 2.0),
        (2, "validation/loss", 3.0),
        (2, "validation/accuracy", 0.25),
        (2, "final/base_test_loss", 4.0),
        (2, "final/test_loss", 2.0),
        (2, "final/base_test_accuracy", 0.5),
        (2, "final/test_accuracy", 0.75),
        (2, "final/validation_loss", 3.0),
        (2, "final/train_loss", 2.0),
    }
    assert found["times"] == [NOON.timestamp()]


def test_what_was_not_read_of_is_dated_by_the_start_of_the_gang(preloaded, tmp_path):
    start = Start(
        attempt=1,
        step=0,
        time=NOON,
        world_size=1,
        zero_stage=1,
        micro_batch_size=1,
        micro_steps=1,
        activation_checkpointing=ActivationCheckpointing.NONE,
    )
    point = Point(step=1, loss=4.0, learning_rate=0.5, gradient_norm=2.0)
    found = written(preloaded, tmp_path, History(latest=point, points=(point,)), Telemetry(starts=(start,)))
    assert found["times"] == [NOON.timestamp()]
