"""Merging conditions: all eight are always there, and times move only with the status."""

from __future__ import annotations

from datetime import timedelta

import pytest

from finetune_api.status import Condition, ConditionStatus, ConditionType, Status
from finetune_operator.decide.conditions import FALSE, TRUE, UNKNOWN, State, is_finished, merge, told
from observed import NOW

LATER = NOW + timedelta(seconds=60)


def merged(before: tuple[Condition, ...], state: State) -> Condition:
    conditions = merge(before, {ConditionType.RUNNING: state}, generation=2, now=LATER)
    return next(each for each in conditions if each.type is ConditionType.RUNNING)


RUNNING = merge((), {ConditionType.RUNNING: State(TRUE, "Training", "2 of 2")}, generation=1, now=NOW)


def test_all_eight_are_always_there_in_one_order() -> None:
    conditions = merge((), {}, generation=1, now=NOW)
    assert [each.type for each in conditions] == list(ConditionType)
    assert {each.status for each in conditions} == {UNKNOWN}
    assert all(each.reason for each in conditions)


def test_the_time_stays_while_the_status_does() -> None:
    assert merged(RUNNING, State(TRUE, "Training", "other words")) == Condition(
        type=ConditionType.RUNNING,
        status=ConditionStatus.TRUE,
        reason="Training",
        message="other words",
        last_transition_time=NOW,
        observed_generation=2,
    )


def test_the_time_moves_with_the_status() -> None:
    assert merged(RUNNING, State(FALSE, "Stopping")).last_transition_time == LATER


def test_a_condition_of_which_nothing_is_said_stays() -> None:
    conditions = merge(RUNNING, {}, generation=2, now=LATER)
    running = next(each for each in conditions if each.type is ConditionType.RUNNING)
    assert (running.status, running.reason, running.last_transition_time) == (TRUE, "Training", NOW)
    assert running.observed_generation == 2


def test_long_messages_are_cut() -> None:
    assert len(merged((), State(FALSE, "Refused", "x" * 5000)).message) == 256


@pytest.mark.parametrize(
    ("message", "field", "expected"),
    [
        ("no such image", "spec.workers.image", "no such image (spec.workers.image)"),
        ("raise spec.workers.nodes", "spec.workers.nodes", "raise spec.workers.nodes"),
        ("no such image", None, "no such image"),
        ("x" * 50, "spec.workers.image", "x" * 18 + "… (spec.workers.image)"),
        ("x" * 50, "f" * 90, "x" * 16 + "… (" + "f" * 19 + "…)"),
        ("x" * 30 + " spec.workers.image", "spec.workers.image", "x" * 18 + "… (spec.workers.image)"),
    ],
)
def test_of_a_long_message_the_field_to_change_is_kept(message: str, field: str | None, expected: str) -> None:
    assert told(message, field, 40) == expected


def test_finished_is_what_the_condition_says() -> None:
    done = merge((), {ConditionType.FINISHED: State(TRUE, "Completed")}, generation=1, now=NOW)
    assert is_finished(Status(conditions=done))
    assert not is_finished(Status(conditions=RUNNING))
    assert not is_finished(Status())
