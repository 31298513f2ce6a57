"""Which fields of a spec may change, and when: the class that a field is marked with, and the CEL that enforces it."""

from __future__ import annotations

from enum import StrEnum


class Mutability(StrEnum):
    """The value says when a field may change."""

    IDENTITY = "until the job starts"
    """Decides the outcome: another value is another run."""
    OPERATIONAL = "until the job starts, and while it is suspended"
    """How the work is done; the next attempt takes it up."""
    CONTROL = "always"
    LATCH = "from false to true only"


_STARTED = "has(oldSelf.status) && has(oldSelf.status.startTime)"
_SUSPENDED = (
    "(has(oldSelf.status.conditions) && "
    "oldSelf.status.conditions.exists(c, c.type == 'Suspended' && c.status == 'True'))"
)


def transition_rules(classes: dict[str, Mutability]) -> list[dict[str, str]]:
    """Root rules for the spec's fields, by wire name; each must always be there, if only by default.

    Only rules at the root see the status.
    The words "is immutable" are what Flux takes as the sign to delete and create the object where that was asked for.
    """
    return [rule for name, mutability in classes.items() if (rule := _transition(name, mutability)) is not None]


def _transition(name: str, mutability: Mutability) -> dict[str, str] | None:
    same = f"self.spec.{name} == oldSelf.spec.{name}"
    match mutability:
        case Mutability.CONTROL:
            return None
        case Mutability.IDENTITY:
            cel = f"!({_STARTED}) || {same}"
            message = "is immutable once the job has started: make another FineTuneJob"
        case Mutability.OPERATIONAL:
            cel = f"!({_STARTED}) || {_SUSPENDED} || {same}"
            message = "is immutable while the job runs: set spec.suspend and wait for the condition Suspended"
        case Mutability.LATCH:
            cel = f"!oldSelf.spec.{name} || self.spec.{name}"
            message = "is immutable once it is true"
    return {"rule": cel, "message": message, "fieldPath": f".spec.{name}"}
