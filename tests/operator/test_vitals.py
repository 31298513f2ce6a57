"""A dead watch, a blocked loop and a stuck reconcile are each complained about, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from finetune_operator.apply import Kind, Unavailable
from finetune_operator.listing import WATCHED
from finetune_operator.vitals import (
    CHECK_LATEST,
    CHECK_SECONDS,
    LAG_MAX,
    RECHECK_SECONDS,
    UNSEEN_MAX,
    WORK_MAX,
    Comparison,
    Readings,
    Unseen,
    Versions,
    Vitals,
    complaints,
    unseen,
)


def readings(*, last_beat: float = 1000.0, longest_work: float = 0.0, **owed: dict[str, Unseen]) -> Readings:
    return Readings(
        last_beat=last_beat,
        longest_work=longest_work,
        compared={Kind[name.upper()]: Comparison(1000.0, each) for name, each in owed.items()},
    )


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (readings(), []),
        (readings(last_beat=1000 - 1 - LAG_MAX), []),
        (readings(last_beat=992), ["the event loop was blocked for 7 s"]),
        (readings(longest_work=WORK_MAX), []),
        (readings(longest_work=600), ["a reconcile has been going on for 600 s"]),
        (readings(pod={"1": Unseen(1000 - UNSEEN_MAX, None)}), []),
        (
            readings(pod={"1": Unseen(999, None), "2": Unseen(960, "7")}),
            ["the watch of pods is dead: 2 objects not seen for 40 s"],
        ),
        (
            readings(last_beat=900, fine_tune_job={"1": Unseen(900, None)}, job={}),
            [
                "the event loop was blocked for 99 s",
                "the watch of finetunejobs is dead: 1 objects not seen for 100 s",
            ],
        ),
    ],
)
def test_what_is_complained_about(taken: Readings, expected: list[str]) -> None:
    assert complaints(taken, now=1000) == expected


@pytest.mark.parametrize(
    ("listed", "shown", "before", "expected"),
    [
        pytest.param({}, {}, {}, {}, id="nothing there"),
        pytest.param({"1": "7"}, {"1": "7"}, {}, {}, id="all shown"),
        pytest.param({"1": "7"}, {}, {}, {"1": Unseen(50, None)}, id="new and not shown yet"),
        pytest.param({"1": "8"}, {"1": "7"}, {}, {"1": Unseen(50, "7")}, id="changed and not shown yet"),
        pytest.param({"1": "7"}, {}, {"1": Unseen(9, None)}, {"1": Unseen(9, None)}, id="still not shown"),
        pytest.param({"1": "9"}, {"1": "7"}, {"1": Unseen(9, "7")}, {"1": Unseen(9, "7")}, id="changed again, stuck"),
        pytest.param({"1": "9"}, {"1": "8"}, {"1": Unseen(9, "7")}, {"1": Unseen(50, "8")}, id="behind but moving"),
        pytest.param({"1": "8"}, {"1": "8"}, {"1": Unseen(9, "7")}, {}, id="caught up"),
        pytest.param({}, {}, {"1": Unseen(9, None)}, {}, id="gone before it was shown"),
        pytest.param({}, {"1": "7"}, {}, {}, id="a ghost owes nothing"),
    ],
)
def test_what_a_watch_owes(
    listed: Versions, shown: Versions, before: dict[str, Unseen], expected: dict[str, Unseen]
) -> None:
    assert unseen(listed, shown, before, now=50) == expected


class World:
    """An API server, a watch that shows what the test lets it, and time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.listed: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self.up = True
        self.answers_after = 0.0
        """Seconds for one list."""
        self.slept: list[float] = []
        self.recoveries = 0
        self.after_sleep: Callable[[], None] = lambda: None
        self.vitals = Vitals(
            list_versions=self.list_versions,
            shown_versions=lambda kind: self.shown if kind is Kind.JOB else {},
            longest_work=lambda: 0.0,
            recovered=self.recovered,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def list_versions(self, kind: Kind) -> Versions:
        if not self.up:
            raise Unavailable("no route to host")
        self.now += self.answers_after
        return dict(self.listed) if kind is Kind.JOB else {}

    async def recovered(self) -> None:
        self.recoveries += 1

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.after_sleep()
        await asyncio.sleep(0)

    async def check(self, times: int) -> None:
        self.slept.clear()
        task = asyncio.create_task(self.vitals.check())
        while len(self.slept) < times:
            await asyncio.sleep(0)
        task.cancel()

    def complaints(self) -> list[str]:
        return [each for each in self.vitals.complaints() if "watch" in each]


async def test_the_watches_are_populated_once_everything_was_shown() -> None:
    world = World()
    world.listed = {"1": "7"}
    await world.vitals.compare()
    assert not world.vitals.populated
    world.shown = {"1": "7"}
    await world.vitals.compare()
    assert world.vitals.populated
    world.listed = {"1": "7", "2": "8"}
    await world.vitals.compare()
    assert world.vitals.populated


async def test_a_live_watch_is_checked_twice_a_minute() -> None:
    world = World()
    await world.check(3)
    assert world.slept == [CHECK_SECONDS] * 3
    assert world.complaints() == []


async def test_a_dead_watch_is_noticed_within_a_minute_of_the_check() -> None:
    world = World()
    await world.vitals.compare()
    world.listed = {"1": "7"}
    await world.check(5)
    assert world.slept == [RECHECK_SECONDS] * 5
    assert world.complaints() == ["the watch of jobs is dead: 1 objects not seen for 40 s"]


@pytest.mark.parametrize(("seconds", "pause"), [(0.1, CHECK_SECONDS), (5, 50), (60, CHECK_LATEST)])
async def test_long_lists_are_compared_more_rarely(seconds: float, pause: float) -> None:
    world = World()
    world.answers_after = seconds / len(WATCHED)
    await world.check(2)
    assert world.slept == [pytest.approx(pause)] * 2


async def test_a_watch_that_dies_is_complained_about_within_seventy_seconds() -> None:
    world = World()
    await world.check(1)
    world.listed = {"1": "7"}
    died = world.now - CHECK_SECONDS
    while not world.complaints():
        await world.check(1)
    # The last pause has not begun when the complaint is there.
    assert world.now - world.slept[-1] - died <= 70


async def test_what_is_owed_does_not_age_while_the_api_server_takes_its_time() -> None:
    world = World()
    await world.vitals.compare()
    world.listed = {"1": "7"}
    await world.check(1)
    world.now += 10 * UNSEEN_MAX
    assert world.complaints() == []


async def test_before_everything_was_shown_once_it_is_looked_at_every_second() -> None:
    world = World()
    world.listed = {"1": "7"}
    await world.check(3)
    assert world.slept == [1.0] * 3


async def test_an_outage_of_the_api_server_is_not_held_against_the_watches() -> None:
    world = World()
    await world.vitals.compare()
    world.listed = {"1": "7"}
    await world.vitals.compare()
    world.up = False
    await world.check(20)
    assert world.now == 20 * RECHECK_SECONDS
    assert world.complaints() == []


async def test_everything_is_looked_at_again_when_the_api_server_is_back() -> None:
    world = World()
    await world.vitals.compare()
    world.up = False

    def heal() -> None:
        world.up = world.now >= 60

    world.after_sleep = heal
    await world.check(8)
    assert world.recoveries == 1


async def test_what_was_deleted_unnoticed_is_a_ghost() -> None:
    world = World()
    world.shown = {"1": "7", "2": "8"}
    world.listed = {"2": "8"}
    await world.vitals.compare()
    assert world.vitals.ghosts == {"1"}


async def test_a_blocked_event_loop_is_noticed() -> None:
    vitals = World().vitals
    vitals.clock, vitals.sleep = time.monotonic, asyncio.sleep
    beating = asyncio.create_task(vitals.beat())
    await asyncio.sleep(0)
    assert vitals.complaints() == []
    offset = 0.0
    vitals.clock = lambda: time.monotonic() + offset
    # What a blocking call does: time passes, and nothing else has a turn.
    offset = 20.0
    assert vitals.complaints() == ["the event loop was blocked for 19 s"]
    beating.cancel()
