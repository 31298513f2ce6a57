from datetime import UTC, datetime, timedelta

from finetune_api.progress import Activity
from finetune_api.snapshot import Period
from finetune_api.spec import ActivationCheckpointing
from finetune_trainer.publish.timeline import timeline_section
from finetune_trainer.telemetry import Moment, Reading, Start, Telemetry
from outline import Outline

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DIVISION = {
    "zero_stage": 3,
    "micro_batch_size": 2,
    "micro_steps": 4,
    "activation_checkpointing": ActivationCheckpointing.SELECTIVE,
}


def moments(attempt: int, began: datetime, **minutes: float) -> tuple[Moment, ...]:
    """Activities, and after how many minutes they were taken up."""
    return tuple(
        Moment(attempt=attempt, activity=Activity[name], time=began + timedelta(minutes=after))
        for name, after in minutes.items()
    )


TELEMETRY = Telemetry(
    starts=(
        Start(attempt=1, step=0, time=BEGAN, world_size=16, **DIVISION),
        Start(attempt=4, step=1200, time=BEGAN + 2 * HOUR, world_size=8, **{**DIVISION, "micro_steps": 8}),
    ),
    moments=(
        *moments(1, BEGAN, STARTING=0, TRAINING=1.5),
        *moments(4, BEGAN + 2 * HOUR, STARTING=0, TRAINING=2, EVALUATING=62, PUBLISHING=63),
    ),
    readings=tuple(
        Reading(step=step, time=BEGAN + timedelta(seconds=step), tokens_per_second=1e4, memory_bytes=70 * 2**30)
        for step in (100, 200, 7400)
    ),
)


def test_each_start_is_a_line_with_how_it_divided_the_work_and_speed_and_memory_are_drawn():
    page = timeline_section(None, TELEMETRY)
    assert page.count("<svg") == 2
    text = Outline(page).text
    assert "2026-01-01 12:00:00 UTC1016324selective" in text
    assert "2026-01-01 14:00:00 UTC41,2008328selective" in text


def test_attempts_of_which_nothing_was_saved_are_named():
    assert "nothing is known here: 2, 3." in Outline(timeline_section(None, TELEMETRY)).text
    again = TELEMETRY.model_copy(update={"starts": TELEMETRY.starts[:1] * 2})
    assert "nothing is known" not in timeline_section(None, again)


def test_what_a_start_was_busy_with_ends_with_the_next_thing_or_with_what_its_last_checkpoint_knows():
    text = Outline(timeline_section(None, TELEMETRY)).text
    assert "Attempt 1, 2026-01-01 12:00:00 UTC: starting 0:01:30, training 0:01:50" in text
    assert (
        "Attempt 4, 2026-01-01 14:00:00 UTC: starting 0:02:00, training 1:00:00, evaluating 0:01:00, publishing"
    ) in text


def test_when_and_how_long_data_was_prepared_is_told_where_it_is_known():
    preparation = Period(start_time=BEGAN - HOUR, finish_time=BEGAN - timedelta(minutes=2))
    text = Outline(timeline_section(preparation, TELEMETRY)).text
    assert "Data and model were prepared from 2026-01-01 11:00:00 UTC on, in 0:58:00." in text
    assert "prepared" not in timeline_section(None, TELEMETRY)


def test_nothing_is_said_of_a_run_that_was_never_started():
    assert timeline_section(None, Telemetry()) == ""
