"""How fast training goes, and how long it will take. Pure: times are arguments."""

from __future__ import annotations

from collections import deque

_STEPS = 20
"""The latest steps are averaged: validations and checkpoints among them count, for they take their time too."""


class Pace:
    """Of optimizer steps, as they end."""

    def __init__(self, now: float) -> None:
        self._ends: deque[tuple[float, int]] = deque([(now, 0)], maxlen=_STEPS + 1)

    def step_ended(self, now: float, num_tokens: int) -> None:
        self._ends.append((now, num_tokens))

    @property
    def _seconds(self) -> float:
        return self._ends[-1][0] - self._ends[0][0]

    @property
    def tokens_per_second(self) -> float | None:
        """None before the first step."""
        tokens = sum(count for _, count in list(self._ends)[1:])
        return tokens / self._seconds if self._seconds else None

    def seconds_left(self, steps_left: int) -> int | None:
        """None before the first step."""
        num_steps = len(self._ends) - 1
        return round(steps_left * self._seconds / num_steps) if num_steps else None
