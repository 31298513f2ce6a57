"""Whether this process still does its work: readings go in, complaints come out.

Kopf's own liveness endpoint answers while its watches are dead (kopf#1145, #1276), so the watches are compared with
what the API server lists: an object whose listed version is not seen for 30 s means that its watch is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from finetune_operator.apply import ClusterError, Kind
from finetune_operator.listing import WATCHED
from finetune_operator.workqueue import WORK_TIMEOUT

BEAT_SECONDS = 1.0
CHECK_SECONDS = 30.0
"""A dead watch is complained about after 70 s, which leaves 50 s of two minutes for the probe and a new start.

The price is a LIST of the metadata of each watched kind: measured 3.7 kB and below 1 ms an object, a dozen a job.
"""
CHECK_LATEST = 120.0
_CHECK_SHARE = 0.1
"""Thousands of jobs are compared more rarely, so that it takes no more than this part of the time."""
RECHECK_SECONDS = 10.0
"""While something is unseen, or the API server unreachable."""
LAG_MAX = 5.0
UNSEEN_MAX = 30.0
WORK_MAX = WORK_TIMEOUT + 30.0
"""Work is cancelled after WORK_TIMEOUT; what is still there later swallows its cancellation."""

Versions = Mapping[str, str]
"""resourceVersion of each uid."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unseen:
    """An object of which the API server lists another version than the watch has shown."""

    since: float
    shown: str | None
    """The version that the watch has shown; None: nothing of it."""


def unseen(listed: Versions, shown: Versions, before: Mapping[str, Unseen], *, now: float) -> dict[str, Unseen]:
    """What the watch still owes us, by uid, and since when.

    A watch that moves, even if it is behind, is alive: the time starts anew with each version it shows.
    """
    owed: dict[str, Unseen] = {}
    for uid, version in listed.items():
        if shown.get(uid) == version:
            continue
        earlier = before.get(uid)
        stuck = earlier is not None and earlier.shown == shown.get(uid)
        owed[uid] = earlier if earlier and stuck else Unseen(now, shown.get(uid))
    return owed


@dataclass(frozen=True)
class Comparison:
    """Of one watch with what the API server lists."""

    time: float
    """When the answer came. Nothing ages while the next one is awaited: a slow API server is no dead watch."""
    owed: Mapping[str, Unseen]

    @property
    def age(self) -> float:
        """For how long something was owed."""
        return max((self.time - each.since for each in self.owed.values()), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Taken at the moment of the question; times in seconds of one monotonic clock."""

    last_beat: float
    """When the event loop was last seen to turn."""
    longest_work: float
    """For how long the slowest reconcile has been going on."""
    compared: Mapping[Kind, Comparison]
    """The last comparison of each watch."""


def complaints(readings: Readings, *, now: float) -> list[str]:
    """Why this process should be started anew; none: it is alive."""
    found = []
    lag = now - readings.last_beat - BEAT_SECONDS
    if lag > LAG_MAX:
        found.append(f"the event loop was blocked for {lag:.0f} s")
    if readings.longest_work > WORK_MAX:
        found.append(f"a reconcile has been going on for {readings.longest_work:.0f} s")
    for kind, last in readings.compared.items():
        if last.age > UNSEEN_MAX:
            found.append(f"the watch of {kind.plural} is dead: {len(last.owed)} objects not seen for {last.age:.0f} s")
    return found


@dataclass(kw_only=True)
class Vitals:
    """Takes the readings; `beat` and `check` run for as long as the process does."""

    list_versions: Callable[[Kind], Awaitable[Versions]]
    """From the API server. Raises ClusterError."""
    shown_versions: Callable[[Kind], Versions]
    """From the watch."""
    longest_work: Callable[[], float]
    recovered: Callable[[], Awaitable[None]]
    """Called when the API server answers again: nothing should wait out its back-off then. Raises ClusterError."""
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    populated: bool = field(default=False, init=False)
    """The watches have once shown everything there is."""
    ghosts: frozenset[str] = field(default=frozenset(), init=False)
    """uids that the watch still shows and the API server does not list: deleted while the watch was interrupted."""
    _last_beat: float = field(default=0.0, init=False)
    _compared: dict[Kind, Comparison] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._last_beat = self.clock()

    def readings(self) -> Readings:
        return Readings(last_beat=self._last_beat, longest_work=self.longest_work(), compared=self._compared)

    def complaints(self) -> list[str]:
        return complaints(self.readings(), now=self.clock())

    async def beat(self) -> None:
        while True:
            self._last_beat = self.clock()
            await self.sleep(BEAT_SECONDS)

    async def check(self) -> None:
        reachable = True
        while True:
            began = self.clock()
            try:
                await self.compare()
                if not reachable:
                    await self.recovered()
            except ClusterError as error:
                # Starting anew would not bring the API server back, so nothing is held against the watches.
                logger.warning("the API server cannot be asked for what the watches should show: %s", error)
                self._compared.clear()
                reachable = False
                await self.sleep(RECHECK_SECONDS)
                continue
            reachable = True
            await self.sleep(self._pause(self.clock() - began))

    async def compare(self) -> None:
        """Compare once. Raises ClusterError."""
        ghosts: set[str] = set()
        for kind in WATCHED:
            known = set(self.shown_versions(kind))
            listed = await self.list_versions(kind)
            shown = self.shown_versions(kind)
            now, last = self.clock(), self._compared.get(kind)
            self._compared[kind] = Comparison(now, unseen(listed, shown, last.owed if last else {}, now=now))
            ghosts |= known - listed.keys()
        self.ghosts = frozenset(ghosts)
        self.populated = self.populated or not self._owes()

    def _pause(self, took: float) -> float:
        if not self.populated:
            return BEAT_SECONDS
        if self._owes():
            return RECHECK_SECONDS
        return min(CHECK_LATEST, max(CHECK_SECONDS, took / _CHECK_SHARE))

    def _owes(self) -> bool:
        return any(last.owed for last in self._compared.values())
