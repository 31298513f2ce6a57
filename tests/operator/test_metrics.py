"""What is measured, and that no series is made per job."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from finetune_operator.apply import Kind, Ref, Unavailable
from finetune_operator.metrics import Metrics


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.phases = ["Training", "Training", "Failed"]
        self.metrics = Metrics(
            queue_depth=lambda: 3,
            longest_work=lambda: 1.5,
            lease_held=lambda: True,
            phases=lambda: self.phases,
            clock=lambda: self.now,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"finetune_operator_{name}", labels)


def test_the_state_of_the_process_is_read_when_asked() -> None:
    world = World()
    assert world.value("queue_depth") == 3
    assert world.value("longest_reconcile_seconds") == 1.5
    assert world.value("lease_held") == 1
    assert world.value("jobs", phase="Training") == 2
    world.phases = ["Succeeded"]
    assert world.value("jobs", phase="Training") is None
    assert world.value("jobs", phase="Succeeded") == 1


def test_the_age_of_a_watch_starts_anew_with_each_event() -> None:
    world = World()
    world.now = 160
    assert world.value("watch_age_seconds", resource="pods") == 60
    world.metrics.event(Kind.POD)
    assert world.value("watch_age_seconds", resource="pods") == 0
    assert world.value("watch_age_seconds", resource="jobs") == 60
    assert world.value("watch_events_total", resource="pods") == 1


async def test_reconciles_are_timed_by_how_they_ended() -> None:
    world = World()

    async def work(ref: Ref) -> float | None:
        world.now += 2
        if ref.name == "unlucky":
            raise Unavailable("starting")
        return 5.0

    timed = world.metrics.timed(work)
    assert await timed(Ref(Kind.FINE_TUNE_JOB, "ml", "lucky")) == 5.0
    with pytest.raises(Unavailable):
        await timed(Ref(Kind.FINE_TUNE_JOB, "ml", "unlucky"))
    assert world.value("reconcile_seconds_sum", outcome="Done") == 2
    assert world.value("reconcile_seconds_count", outcome="Unavailable") == 1


async def test_the_name_of_a_job_is_in_no_series() -> None:
    world = World()

    async def work(ref: Ref) -> float | None:
        return None

    timed = world.metrics.timed(work)
    await timed(Ref(Kind.FINE_TUNE_JOB, "ml", "first"))
    before = len(generate_latest(world.metrics.registry).splitlines())
    for number in range(100):
        await timed(Ref(Kind.FINE_TUNE_JOB, f"namespace-{number}", f"job-{number}"))
    assert len(generate_latest(world.metrics.registry).splitlines()) == before
