"""How far one stage is: a line that is redrawn in a terminal, or one now and then where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from finetune_api.progress import Activity, Progress
from finetune_operator.cli.stage_line import duration, readings

_PLAIN_SECONDS: Final = 10.0


class ProgressLine:
    """Told of every reading."""

    def __init__(self, console: Console, clock: Callable[[], datetime], status: Status | None) -> None:
        self._console = console
        self._clock = clock
        self._status = status
        self._began = clock()
        self._said: tuple[Activity, datetime] | None = None

    def show(self, progress: Progress) -> None:
        now = self._clock()
        text = ", ".join(readings(progress, 0.0))
        if self._status is not None:
            self._status.update(Text(f"{text}  {duration((now - self._began).total_seconds())}"))
            return
        is_due = self._said is None or (now - self._said[1]).total_seconds() >= _PLAIN_SECONDS
        if is_due or (self._said is not None and self._said[0] is not progress.activity):
            self.note(text)
            self._said = progress.activity, now

    def note(self, text: str) -> None:
        self._console.print(Text(f"{self._clock().astimezone():%H:%M:%S} {text}"), soft_wrap=True)


@contextmanager
def progress_line(console: Console, clock: Callable[[], datetime]) -> Iterator[ProgressLine]:
    if not console.is_terminal:
        yield ProgressLine(console, clock, None)
        return
    with console.status("starting") as status:
        yield ProgressLine(console, clock, status)
