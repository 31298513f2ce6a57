"""What a person reads while a job runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timedelta

from rich.console import Console

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_operator.apply import Event
from finetune_operator.cli.view import LiveView, PlainView, view_for
from running_job import START, training


def plain(times: list[datetime]) -> tuple[PlainView, Callable[[], list[str]]]:
    """A view whose clock gives these times, the last for ever; and its lines without their times."""
    out = io.StringIO()
    left = list(times)
    view = PlainView(Console(file=out, width=300), lambda: left.pop(0) if len(left) > 1 else left[0])
    return view, lambda: [line.partition(" ")[2] for line in out.getvalue().splitlines()]


def at_step(step: int) -> FineTuneJob:
    return training(
        progress=Progress(stage=Stage.TRAIN, attempt=2, activity=Activity.TRAINING, step=step, total_steps=9)
    )


def test_plain_lines_come_when_the_activity_changes_and_otherwise_every_ten_seconds() -> None:
    view, lines = plain([START])
    view.show(at_step(1))
    view.show(at_step(2))
    evaluating = Progress(stage=Stage.TRAIN, attempt=2, activity=Activity.EVALUATING)
    view.show(training(progress=evaluating))
    assert lines()[1:] == ["Train: training, step 1 of 9", "Train: evaluating"]

    view, lines = plain([START, START, START + timedelta(seconds=11), START + timedelta(seconds=12)])
    view.show(at_step(1))
    view.show(at_step(1))
    view.show(at_step(2))
    view.show(at_step(3))
    assert [line for line in lines() if line.startswith("Train")] == [
        "Train: training, step 1 of 9",
        "Train: training, step 2 of 9",
    ]


def test_a_base_model_on_its_way_is_told_until_it_is_there() -> None:
    view, lines = plain([START])
    coming = Progress(
        stage=Stage.TRAIN,
        attempt=2,
        activity=Activity.STARTING,
        bytes_fetched=3_600_000_000,
        bytes_total=14_496_000_000,
    )
    view.show(training(progress=coming))
    view.show(training(progress=coming.model_copy(update={"activity": Activity.EVALUATING})))
    assert lines()[1:] == ["Train: starting, 25% of the base model's 14.5 GB here", "Train: evaluating"]


def test_moments_and_notes_are_told_as_they_come() -> None:
    view, lines = plain([START])
    view.moment(Event(type="Warning", reason="Crashed", message="attempt 1 ended"))
    view.note("[stopping]")
    assert lines() == ["attempt 1 ended", "[stopping]"]


def test_a_terminal_gets_a_bar_and_moments_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, height=40, color_system=None)
    view = view_for(console, lambda: START + timedelta(seconds=83))
    assert isinstance(view, LiveView)
    with view:
        view.show(training())
        view.moment(Event(type="Normal", reason="TrainingStarted", message="attempt 2 runs"))
    told = out.getvalue()
    assert "attempt 2 runs" in told
    assert "triage  Training  1:23" in told
    assert "✓  Prepare  12,000 rows in" in told
    assert "━" in told
    assert "step 40 of 120" in told


def test_without_a_terminal_the_lines_are_plain() -> None:
    assert isinstance(view_for(Console(file=io.StringIO()), lambda: START), PlainView)
