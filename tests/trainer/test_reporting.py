"""What a rank says while files arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from finetune_api.memory import Choice
from finetune_api.progress import Activity
from finetune_trainer.history import History, Point
from finetune_trainer.packing import Batch
from finetune_trainer.progress import ProgressFile
from finetune_trainer.reporting import Reporter
from finetune_trainer.telemetry import Moment, Telemetry


def test_files_that_arrive_are_told_once_a_second_and_when_all_are_there(tmp_path: Path) -> None:
    now = [100.0]
    file = ProgressFile(tmp_path / "progress.json")
    reporter = Reporter(file, 1, clock=lambda: now[0], now=lambda: datetime(2026, 1, 1, tzinfo=UTC), memory=lambda: 0)
    told = []
    for now[0], done in ((100.0, 10), (100.5, 20), (101.0, 30), (101.1, 40), (101.2, 50)):
        reporter.fetched(done, 50)
        heard = file.heard()
        assert heard is not None
        assert (heard[0].activity, heard[0].bytes_total) == (Activity.STARTING, 50)
        told.append(heard[0].bytes_fetched)
    assert told == [10, 10, 30, 30, 50]


def test_a_step_tells_which_share_of_the_gpus_peak_it_took(tmp_path: Path) -> None:
    now = [0.0]
    file = ProgressFile(tmp_path / "progress.json")
    reporter = Reporter(file, 1, clock=lambda: now[0], now=lambda: datetime(2026, 1, 1, tzinfo=UTC), memory=lambda: 0)
    point = Point(step=1, loss=3.0, learning_rate=1e-3, gradient_norm=1.0)
    reporter.training_begins(step=0, total_steps=2)
    now[0] = 4.0
    reporter.step_ended(
        Batch(epoch=0, epoch_done=0.5, rows=((0,),)),
        History(latest=point, points=(point,)),
        num_tokens=100,
        forward_seconds=(1.0,),
        seconds_at_peak=1.8,
        checkpoint_step=None,
    )
    assert (reporter.progress.mfu, reporter.progress.tokens_per_second) == (0.45, 25)


def test_what_an_attempt_takes_up_follows_what_its_checkpoint_knows_of_those_before(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    file = ProgressFile(tmp_path / "progress.json")
    reporter = Reporter(file, 2, clock=lambda: 0.0, now=lambda: noon, memory=lambda: 0)
    reporter.say(Activity.STARTING, bytes_fetched=1)
    known = Moment(attempt=1, activity=Activity.STARTING, time=noon)
    choice = Choice(zero_stage=1, micro_batch_size=2)
    reporter.gang_started(Telemetry(moments=(known,)), choice, step=4, world_size=8, micro_steps=3)
    reporter.training_begins(step=4, total_steps=6)
    assert [(moment.attempt, moment.activity) for moment in reporter.telemetry.moments] == [
        (1, Activity.STARTING),
        (2, Activity.STARTING),
        (2, Activity.TRAINING),
    ]
    (start,) = reporter.telemetry.starts
    assert (start.step, start.world_size, start.micro_batch_size, start.micro_steps) == (4, 8, 2, 3)
