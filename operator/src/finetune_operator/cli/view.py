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
from finetune_api.status import Phase, StageState, StageStatus
from finetune_operator.apply import Event
from finetune_operator.cli.stage_line import describe, duration, stages

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


def _time(now: datetime) -> str:
    return now.astimezone().strftime("%H:%M:%S")
