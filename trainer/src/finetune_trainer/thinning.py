"""Few values of a run's steps, however long it is: every one at first, then every other, and so on. Pure."""

from __future__ import annotations

from typing import Protocol, TypeVar


class OfStep(Protocol):
    """What was noted after an optimizer step."""

    @property
    def step(self) -> int: ...


Value = TypeVar("Value", bound=OfStep)


def added(kept: tuple[Value, ...], value: Value, *, every: int, most: int) -> tuple[tuple[Value, ...], int]:
    """`kept` with one more, if its step is among those that are kept; and the steps between two from now on."""
    if value.step % every:
        return kept, every
    values = (*kept, value)
    while len(values) > most:
        every *= 2
        values = tuple(one for one in values if one.step % every == 0)
    return values, every
