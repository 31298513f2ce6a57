"""The eight conditions: what each says in every phase, and when its transition time moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from finetune_api.status import Condition, ConditionStatus, ConditionType, Status

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
# Eight of them share 16 KiB with everything else in the status.
MESSAGE_MAX_LENGTH = 256


@dataclass(frozen=True)
class State:
    """What one condition is to say."""

    status: ConditionStatus
    reason: str
    message: str = ""


def merge(
    before: tuple[Condition, ...], states: Mapping[ConditionType, State], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions that say `states`, in the order of ConditionType; one that `states` leaves out stays as it was.

    The transition time moves only with the status.
    """
    known = {condition.type: condition for condition in before}
    merged = []
    for kind in ConditionType:
        old = known.get(kind)
        state = states.get(kind) or (State(old.status, old.reason, old.message) if old else State(UNKNOWN, "Pending"))
        same = old is not None and old.status is state.status
        merged.append(
            Condition(
                type=kind,
                status=state.status,
                reason=state.reason,
                message=shortened(state.message),
                last_transition_time=old.last_transition_time if old and same else now,
                observed_generation=generation,
            )
        )
    return tuple(merged)


def shortened(message: str, length: int = MESSAGE_MAX_LENGTH) -> str:
    return message if len(message) <= length else message[: length - 1] + "…"


def told(message: str, field: str | None, length: int = MESSAGE_MAX_LENGTH) -> str:
    """`message`, cut to `length`, with the field to change: of the two that is what must not be lost."""
    short = shortened(message, length)
    if field is None or field in short:
        return short
    where = f" ({shortened(field, length // 2)})"
    return shortened(message, length - len(where)) + where


def condition(status: Status, kind: ConditionType) -> Condition | None:
    return next((each for each in status.conditions if each.type is kind), None)


def is_finished(status: Status) -> bool:
    """Succeeded, failed or cancelled: nothing after this changes the outcome."""
    finished = condition(status, ConditionType.FINISHED)
    return finished is not None and finished.status is TRUE
