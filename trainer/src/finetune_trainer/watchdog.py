"""When a silent rank is given up. Pure: times are arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from finetune_api.progress import Activity, Progress

STEPS = 5
"""Median steps of silence that are taken for a hang."""


@dataclass
class Watchdog:
    """Watches one rank; any clock will do, if it is always the same."""

    last_sign: float
    """When it was heard last; at first, when it was started."""
    start_seconds: float = 600.0
    """For what has no rhythm: loading, restoring, the first step with its warm-up of libraries, publishing."""
    least_seconds: float = 60.0
    """However short the steps are."""
    _beat: int | None = None
    _progress: Progress | None = None
    _step_began: float | None = None
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    def heard(self, progress: Progress, beat: int, now: float) -> None:
        """What its file says; `beat` changes with every sign of life."""
        if beat == self._beat:
            return
        self._beat, self.last_sign = beat, now
        if self._progress is not None and progress.step != self._progress.step:
            if self._step_began is not None:
                self._steps.append(now - self._step_began)
            self._step_began = now
        self._progress = progress

    @property
    def patience(self) -> float:
        """Seconds of silence that are still fine."""
        rhythmic = self._progress is not None and self._progress.activity in (Activity.TRAINING, Activity.EVALUATING)
        if not rhythmic or not self._steps:
            return self.start_seconds
        return max(self.least_seconds, STEPS * median(self._steps))

    def complaint(self, now: float) -> str | None:
        """Why the rank is given up, None while it is not."""
        silence = now - self.last_sign
        if silence <= self.patience:
            return None
        if self._progress is None:
            return f"nothing heard for {silence:.0f} s after its start"
        return f"silent for {silence:.0f} s, last heard {self._progress.activity} at step {self._progress.step or 0}"
