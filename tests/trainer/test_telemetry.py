import itertools
from datetime import UTC, datetime

from finetune_trainer.telemetry import MAX_READINGS, Reading, Telemetry


def reading(step: int) -> Reading:
    return Reading(step=step, time=datetime(2026, 1, 1, tzinfo=UTC), tokens_per_second=100.0, memory_bytes=step)


def test_steps_that_are_taken_again_are_read_again():
    telemetry = Telemetry()
    for step in (1, 2, 3, 2):
        telemetry = telemetry.with_reading(reading(step))
    assert [found.step for found in telemetry.readings] == [1, 2]


def test_however_long_a_run_is_its_readings_are_few_and_even():
    telemetry = Telemetry()
    for step in range(1, 10 * MAX_READINGS):
        telemetry = telemetry.with_reading(reading(step))
        assert len(telemetry.readings) <= MAX_READINGS
    steps = [found.step for found in telemetry.readings]
    assert {after - before for before, after in itertools.pairwise(steps)} == {telemetry.every}
    assert len(steps) > MAX_READINGS // 2
