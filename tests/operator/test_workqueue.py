"""Keys are worked on once at a time, come back after failures ever later, and never get lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from finetune_operator.apply import Conflict, Unavailable
from finetune_operator.workqueue import LAST_DELAY, Backlog, WorkQueue


def test_a_key_added_twice_is_taken_once() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add("a")
    backlog.add("b")
    backlog.add("a")
    assert [backlog.take(now=0) for _ in range(3)] == ["a", "b", None]


def test_a_key_added_while_worked_on_is_taken_again_only_after_that() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add("a")
    backlog.take(now=0)
    backlog.add("a")
    backlog.add("a")
    assert backlog.take(now=0) is None
    backlog.finish("a")
    assert backlog.take(now=0) == "a"
    backlog.finish("a")
    assert backlog.take(now=0) is None


def test_a_delayed_key_is_ready_when_it_is_due_and_not_before() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add_after("a", 10, now=100)
    assert backlog.next_due() == 110
    assert backlog.take(now=109.9) is None
    assert backlog.take(now=110) == "a"
    assert backlog.next_due() is None


def test_of_two_delays_the_sooner_counts_and_only_once() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add_after("a", 60, now=0)
    backlog.add_after("a", 10, now=0)
    backlog.add_after("a", 30, now=0)
    assert backlog.take(now=10) == "a"
    backlog.finish("a")
    assert backlog.take(now=100) is None


def test_a_delayed_key_that_becomes_due_while_worked_on_waits_for_the_end_of_that() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add("a")
    backlog.take(now=0)
    backlog.add_after("a", 1, now=0)
    assert backlog.take(now=2) is None
    backlog.finish("a")
    assert backlog.take(now=2) == "a"


def test_failures_double_the_delay_up_to_five_minutes_and_success_forgets_them() -> None:
    backlog: Backlog[str] = Backlog()
    delays = [backlog.failed("a", now=0) for _ in range(11)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, LAST_DELAY, LAST_DELAY]
    backlog.succeeded("a")
    assert backlog.failed("a", now=0) == 1


def test_a_thousand_failures_do_not_overflow() -> None:
    backlog: Backlog[str] = Backlog()
    assert [backlog.failed("a", now=0) for _ in range(1100)][-1] == LAST_DELAY


def test_what_the_server_asks_for_is_waited_even_when_the_back_off_is_shorter() -> None:
    backlog: Backlog[str] = Backlog()
    assert backlog.failed("a", at_least=7, now=0) == 7
    assert backlog.failed("a", at_least=1, now=0) == 2


def test_failures_of_one_key_do_not_delay_another() -> None:
    backlog: Backlog[str] = Backlog()
    for _ in range(5):
        backlog.failed("a", now=0)
    assert backlog.failed("b", now=0) == 1


def test_a_key_that_waits_after_a_failure_is_ready_at_once_when_an_event_comes() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.failed("a", now=0)
    backlog.add("a")
    assert backlog.take(now=0) == "a"


def test_the_slowest_work_is_known() -> None:
    backlog: Backlog[str] = Backlog()
    assert backlog.longest_work(now=5) == 0
    for key, now in (("a", 10.0), ("b", 15.0)):
        backlog.add(key)
        backlog.take(now=now)
    assert backlog.longest_work(now=20) == 10
    backlog.finish("a")
    assert backlog.longest_work(now=20) == 5


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_keys_run_side_by_side_but_never_one_key_twice_at_a_time() -> None:
    running: list[str] = []
    most: dict[str, int] = {}
    together = 0
    done: list[str] = []
    queue: WorkQueue[str]

    async def work(key: str) -> None:
        nonlocal together
        running.append(key)
        most[key] = max(most.get(key, 0), running.count(key))
        together = max(together, len(running))
        queue.add(key) if len(done) < 20 else None
        for _ in range(3):
            await asyncio.sleep(0)
        running.remove(key)
        done.append(key)

    queue = WorkQueue(work, workers=3)
    for key in "abcd":
        queue.add(key)
    task = asyncio.create_task(queue.run())
    await until(lambda: len(done) >= 20)
    task.cancel()
    assert most == dict.fromkeys("abcd", 1)
    assert together == 3


async def test_a_crash_of_one_key_leaves_the_others_working_and_brings_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)
        if seen.count("bad") == 1 and key == "bad":
            raise ZeroDivisionError("a bug of ours")

    queue = WorkQueue(work, workers=1, clock=clock)
    queue.add("bad")
    queue.add("good")
    task = asyncio.create_task(queue.run())
    await until(lambda: "good" in seen)
    assert seen == ["bad", "good"]
    assert "reconcile crashed" in caplog.text
    assert "a bug of ours" in caplog.text
    clock.now = 1.0
    queue.add_after("tick", 0)
    await until(lambda: seen.count("bad") == 2)
    task.cancel()


async def test_an_answer_of_the_api_server_is_said_in_one_line_without_a_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)

    async def work(key: str) -> None:
        raise Unavailable("too many requests", retry_after=9) if key == "busy" else Conflict("changed")

    queue = WorkQueue(work, workers=1, clock=Clock())
    queue.add("busy")
    queue.add("changed")
    task = asyncio.create_task(queue.run())
    await until(lambda: len(caplog.records) == 2)
    task.cancel()
    assert [record.getMessage() for record in caplog.records] == [
        "busy: Unavailable: too many requests; again in 9 s",
        "changed: Conflict: changed; again in 1 s",
    ]
    assert [record.exc_info for record in caplog.records] == [None, None]


async def test_a_key_is_seen_again_when_its_work_asked_for_it() -> None:
    clock = Clock()
    seen: list[float] = []

    async def work(key: str) -> float | None:
        seen.append(clock.now)
        return 30.0 if len(seen) == 1 else None

    queue = WorkQueue(work, workers=2, clock=clock)
    queue.add("a")
    task = asyncio.create_task(queue.run())
    await until(lambda: seen == [0.0])
    clock.now = 30.0
    queue.add_after("b", 1000)
    await until(lambda: seen == [0.0, 30.0])
    task.cancel()


async def test_a_delay_passes_by_itself() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)

    queue = WorkQueue(work, workers=2)
    task = asyncio.create_task(queue.run())
    queue.add_after("a", 0.01)
    async with asyncio.timeout(10):
        while not seen:
            await asyncio.sleep(0.005)
    task.cancel()


async def test_cancelling_the_queue_cancels_the_work() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def work(key: str) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    queue = WorkQueue(work, workers=1)
    queue.add("a")
    task = asyncio.create_task(queue.run())
    await started.wait()
    assert queue.longest_work() > 0
    task.cancel()
    await asyncio.wait([task])
    assert cancelled.is_set()
    assert queue.longest_work() == 0
