"""How a running job looks in a terminal, and as plain lines where there is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_api.result import DataSummary
from finetune_api.status import ConditionType, Phase, StageState, StageStatus
from finetune_operator.apply import Event
from finetune_operator.decide.conditions import condition

_BAR_WIDTH = 32
_PLAIN_SECONDS = 10.0
_MARKS = {StageState.PENDING: " ", StageState.RUNNING: "▸", StageState.SUCCEEDED: "✓", StageState.FAILED: "✗"}


class View(Protocol):
    """Told of the job whenever it changed."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, job: FineTuneJob) -> None: ...
    def moment(self, event: Event) -> None: ...
    def note(self, text: str) -> None: ...


def view_for(console: Console, clock: Callable[[], datetime]) -> View:
    return LiveView(console, clock) if console.is_terminal else PlainView(console, clock)


class LiveView:
    """Redrawn in place four times a second, so that clocks run between two changes."""

    def __init__(self, console: Console, clock: Callable[[], datetime]) -> None:
        self._console = console
        self._clock = clock
        self._job: FineTuneJob | None = None
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, job: FineTuneJob) -> None:
        self._job = job

    def moment(self, event: Event) -> None:
        style = "yellow" if event.type == "Warning" else "dim"
        self._console.print(Text(f"{_time(self._clock())} {event.message}", style=style))

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def _render(self) -> RenderableType:
        if self._job is None:
            return Text()
        table = Table.grid(padding=(0, 2))
        for stage in stages(self._job):
            table.add_row(Text(_MARKS[stage.state]), Text(stage.stage.value, style="bold"), self._row(self._job, stage))
        return Group(self._headline(self._job), table)

    def _headline(self, job: FineTuneJob) -> RenderableType:
        status = job.status
        started = status.start_time or self._clock()
        elapsed = duration(((status.finish_time or self._clock()) - started).total_seconds())
        line = Text.assemble((job.metadata.name, "bold"), f"  {status.phase or 'Pending'}  ", (elapsed, "dim"))
        if status.finish_time is not None:
            return line
        self._spinner.update(text=line)
        return self._spinner

    def _row(self, job: FineTuneJob, stage: StageStatus) -> RenderableType:
        text = describe(job, stage, self._clock())
        progress = job.status.progress if job.status.phase is Phase.TRAINING and stage.stage is Stage.TRAIN else None
        if progress is None or not progress.step or not progress.total_steps:
            return Text(text)
        row = Table.grid(padding=(0, 2))
        row.add_row(ProgressBar(progress.total_steps, progress.step, width=_BAR_WIDTH), Text(text))
        return row


class PlainView:
    """A line when the activity changes, and at most every ten seconds while only numbers do."""

    def __init__(self, console: Console, clock: Callable[[], datetime]) -> None:
        self._console = console
        self._clock = clock
        self._said: dict[Stage, str] = {}
        self._doing: dict[Stage, object] = {}
        self._last: datetime | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, job: FineTuneJob) -> None:
        now = self._clock()
        progress = job.status.progress
        for stage in stages(job):
            if stage.state is StageState.PENDING:
                continue
            text = describe(job, stage, now)
            doing = (stage.state, progress.activity if progress and progress.stage is stage.stage else None)
            is_due = self._last is None or (now - self._last).total_seconds() >= _PLAIN_SECONDS
            if text != self._said.get(stage.stage) and (is_due or doing != self._doing.get(stage.stage)):
                self.note(f"{stage.stage.value}: {text}")
                self._said[stage.stage], self._doing[stage.stage], self._last = text, doing, now

    def moment(self, event: Event) -> None:
        self.note(event.message)

    def note(self, text: str) -> None:
        self._console.print(f"{_time(self._clock())} {text}", markup=False, highlight=False, soft_wrap=True)


def stages(job: FineTuneJob) -> tuple[StageStatus, ...]:
    """Both, also before the first has begun."""
    known = {stage.stage: stage for stage in job.status.stages}
    return tuple(known.get(stage, StageStatus(stage=stage, state=StageState.PENDING)) for stage in Stage)


def describe(job: FineTuneJob, stage: StageStatus, now: datetime) -> str:
    """One stage in one line."""
    status = job.status
    if stage.state is StageState.SUCCEEDED:
        return describe_end(job, stage)
    if stage.state is not StageState.RUNNING:
        return stage.state.value.lower()
    progress = status.progress
    attempt = status.attempts[-1] if status.attempts else None
    stale = progress is None or attempt is None or (progress.stage, progress.attempt) != (attempt.stage, attempt.number)
    if progress is None or stale or status.phase is Phase.RESTARTING:
        summary = condition(status, ConditionType.SUCCEEDED)
        return summary.message if summary is not None and summary.message else "starting"
    age = 0.0 if status.progress_time is None else (now - status.progress_time).total_seconds()
    return ", ".join(_readings(progress, age))


def describe_end(job: FineTuneJob, stage: StageStatus) -> str:
    """What a stage that succeeded has brought."""
    status = job.status
    if stage.stage is Stage.PREPARE and status.data is not None:
        return rows(status.data)
    metrics = status.metrics
    if metrics is None or metrics.test_loss is None:
        return "done"
    return f"test loss {metrics.test_loss:.3f}"


def rows(data: DataSummary) -> str:
    """What became of the raw rows, in one line."""
    splits = data.splits
    return (
        f"{data.rows_read:,} rows in: {data.rows_cleaned:,} cleaned, {data.rows_rejected:,} rejected, "
        f"{data.rows_removed:,} removed → {splits.train:,} train, {splits.validation:,} validation, "
        f"{splits.test:,} test"
    )


def _readings(progress: Progress, age: float) -> list[str]:
    found = [progress.activity.value.lower()]
    if progress.rows_read is not None:
        found.append(f"{progress.rows_read:,} rows")
    if progress.step is not None and progress.total_steps is not None:
        found.append(f"step {progress.step:,} of {progress.total_steps:,}")
    if progress.loss is not None:
        found.append(f"loss {progress.loss:.3f}")
    if progress.validation_loss is not None:
        found.append(f"validation {progress.validation_loss:.3f}")
    if progress.tokens_per_second is not None and progress.activity is Activity.TRAINING:
        found.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.seconds_left is not None and progress.activity is Activity.TRAINING:
        found.append(f"{duration(max(0.0, progress.seconds_left - age))} left")
    if progress.checkpoint_step is not None:
        found.append(f"checkpoint at {progress.checkpoint_step:,}")
    return found


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _time(now: datetime) -> str:
    return now.astimezone().strftime("%H:%M:%S")
