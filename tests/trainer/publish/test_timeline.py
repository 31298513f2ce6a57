from datetime import UTC, datetime, timedelta

from finetune_trainer.publish.timeline import timeline_section
from finetune_trainer.telemetry import Reading, Start, Telemetry
from outline import Outline

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
TELEMETRY = Telemetry(
    starts=(
        Start(attempt=1, step=0, world_size=16, time=BEGAN),
        Start(attempt=2, step=1200, world_size=8, time=BEGAN + timedelta(hours=2)),
    ),
    readings=tuple(
        Reading(step=step, time=BEGAN + timedelta(seconds=step), tokens_per_second=1e4, memory_bytes=70 * 2**30)
        for step in (100, 200)
    ),
)


def test_each_start_is_a_line_and_speed_and_memory_are_drawn():
    page = timeline_section(TELEMETRY)
    assert page.count("<tr>") == 3
    assert "2026-01-01 14:00:00 UTC" in page
    assert ">1,200<" in page
    assert page.count("<svg") == 2
    Outline(page)


def test_nothing_is_said_of_a_run_that_was_never_started():
    assert timeline_section(Telemetry()) == ""
