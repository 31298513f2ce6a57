"""How fast training goes, and how long it will take. Pure: times are arguments."""

from __future__ import annotations

from collections import deque

_STEPS = 20
"""The latest steps are averaged: validations and checkpoints among them count, for they take their time too."""


class Pace:
    """Of optimizer steps, as they end."""

    def __init__(self, now: float) -> None:
        self._ends: deque[tuple[float, int, float | None]] = deque([(now, 0, None)], maxlen=_STEPS + 1)

    def step_ended(self, now: float, num_tokens: int, seconds_at_peak: float | None) -> None:
        """`seconds_at_peak`: how long the GPUs would have taken at least; None where that is not known."""
        self._ends.append((now, num_tokens, seconds_at_peak))

    @property
    def _seconds(self) -> float:
        return self._ends[-1][0] - self._ends[0][0]

    @property
    def tokens_per_second(self) -> float | None:
        """None before the first step."""
        tokens = sum(count for _, count, _ in list(self._ends)[1:])
        return tokens / self._seconds if self._seconds else None

    @property
    def utilisation(self) -> float | None:
        """Share of the GPUs' peak that the model's arithmetic took; None before the first step, and where unknown."""
        at_peak = [seconds for _, _, seconds in list(self._ends)[1:] if seconds is not None]
        return sum(at_peak) / self._seconds if at_peak and self._seconds else None

    def seconds_left(self, steps_left: int) -> int | None:
        """None before the first step."""
        num_steps = len(self._ends) - 1
        return round(steps_left * self._seconds / num_steps) if num_steps else None
