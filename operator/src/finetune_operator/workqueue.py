"""Which key is worked on when: each once at a time, as soon as it is due, and ever more rarely while it fails.

The semantics are those of controller-runtime: adding is idempotent, a key added while it is worked on is worked on
once more afterwards, and a key that fails comes back after 1, 2, 4 … 300 seconds until it succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from finetune_operator.apply import ClusterError, Unavailable

FIRST_DELAY = 1.0
LAST_DELAY = 300.0
WORK_TIMEOUT = 120.0
"""Far above the few requests, of at most 30 s each, that one pass makes: only a bug gets there."""

K = TypeVar("K", bound=Hashable)
logger = logging.getLogger(__name__)


class Backlog(Generic[K]):
    """The order of work, with `now` (seconds, monotonic) as an argument and without any waiting."""

    def __init__(self) -> None:
        self._ready: deque[K] = deque()
        self._queued: set[K] = set()
        self._working: dict[K, float] = {}
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """Keys that are ready and not taken yet."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Make the key ready now; if it is worked on right now, once more after that."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)

    def add_after(self, key: K, seconds: float, *, now: float) -> None:
        """Make the key ready in `seconds`, unless it is due sooner anyway."""
        due = now + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._sequence += 1
            heapq.heappush(self._heap, (due, self._sequence, key))

    def take(self, *, now: float) -> K | None:
        """The next ready key, which is then being worked on until `finish`; None when nothing is ready."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._queued.discard(key)
        self._working[key] = now
        return key

    def finish(self, key: K) -> None:
        """The work on a taken key has ended, well or not."""
        del self._working[key]
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    def failed(self, key: K, *, at_least: float = 0.0, now: float) -> float:
        """Bring the key back later; returns in how many seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, min(FIRST_DELAY * 2.0 ** min(failures - 1, 30), LAST_DELAY))
        self.add_after(key, delay, now=now)
        return delay

    def next_due(self) -> float | None:
        """When the first of the delayed keys becomes ready."""
        return self._heap[0][0] if self._heap else None

    def longest_work(self, *, now: float) -> float:
        """For how many seconds the slowest of the keys in work has been worked on."""
        return max((now - since for since in self._working.values()), default=0.0)


class WorkQueue(Generic[K]):
    """Calls `work(key)` for keys of a Backlog, from `workers` tasks.

    `work` returns after how many seconds it wants to see the key again, or None when an event will say so.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[float | None]],
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._workers = workers
        self._clock = clock
        self._backlog: Backlog[K] = Backlog()
        self._changed = asyncio.Event()

    def add(self, key: K) -> None:
        self._backlog.add(key)
        self._changed.set()

    def add_after(self, key: K, seconds: float) -> None:
        self._backlog.add_after(key, seconds, now=self._clock())
        self._changed.set()

    def depth(self) -> int:
        return len(self._backlog)

    def longest_work(self) -> float:
        return self._backlog.longest_work(now=self._clock())

    async def run(self) -> None:
        """Work until cancelled; what is being worked on is cancelled with it."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._worker(), name=f"worker {number}")

    async def _worker(self) -> None:
        while True:
            key = self._backlog.take(now=self._clock())
            if key is None:
                await self._wait()
                continue
            try:
                await self._attempt(key)
            finally:
                self._backlog.finish(key)
                self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        due = self._backlog.next_due()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._changed.wait()

    async def _attempt(self, key: K) -> None:
        try:
            async with asyncio.timeout(WORK_TIMEOUT):
                again = await self._work(key)
        except ClusterError as error:
            at_least = (error.retry_after or 0.0) if isinstance(error, Unavailable) else 0.0
            delay = self._backlog.failed(key, at_least=at_least, now=self._clock())
            logger.warning("%s: %s: %s; again in %.0f s", key, type(error).__name__, error, delay)
        except Exception:
            # One broken job must not end the work on all others; the trace is for whoever fixes the bug.
            delay = self._backlog.failed(key, now=self._clock())
            logger.exception("%s: reconcile crashed; again in %.0f s", key, delay)
        else:
            self._backlog.succeeded(key)
            if again is not None:
                self.add_after(key, again)
