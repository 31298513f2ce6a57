"""Process start: reads the settings, wires the parts, and ends as soon as one of them does.

Ended by SIGTERM: 0. Lost Lease, dead watch or any other part that ended: 1, and the kubelet starts us anew.
Settings or credentials that cannot be used: 2.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import kopf

from finetune_operator.apply import ClusterError, Ref
from finetune_operator.apply.kube import KubeCluster
from finetune_operator.handlers import kopf_settings, registry, resync
from finetune_operator.lease import Lease, LeaseLost
from finetune_operator.listing import Listing
from finetune_operator.metrics import Metrics
from finetune_operator.observe import workloads
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.progress import Poller
from finetune_operator.reconcile import reconcile
from finetune_operator.serve import application, serve
from finetune_operator.settings import Settings
from finetune_operator.shown import Shown
from finetune_operator.vitals import Vitals
from finetune_operator.workqueue import WorkQueue

LEAVE_SECONDS = 3.0
"""For everything to end once it is asked to; nothing here needs more, for any state can be taken up again."""

logger = logging.getLogger("finetune_operator")


class PartEnded(Exception):
    """A part that should run for ever did not."""


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Kopf tells of every handler that it calls.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings = Settings.from_env(os.environ)
        return asyncio.run(run(settings, os.environ))
    except ValueError as error:
        logger.error("%s", error)
        return 2


async def run(settings: Settings, environ: Mapping[str, str]) -> int:
    """Until a signal comes (0) or a part ends (1). Raises ValueError when the cluster cannot even be addressed."""
    identity = settings.identity or f"finetune-operator-{uuid.uuid4().hex[:8]}"
    cluster = await KubeCluster.connect(environ, now=_now, identity=identity)
    stop = asyncio.Event()
    _leave_on_signals(stop)
    operator = Operator(cluster, settings, identity)
    parts = [
        asyncio.create_task(part, name=name)
        for name, part in {
            "stop": stop.wait(),
            "server": serve(operator.served, host=settings.serve_host, port=settings.serve_port),
            "heartbeat": operator.vitals.beat(),
            "operator": operator.act(lambda: _leave_on_signals(stop)),
        }.items()
    ]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            for part in done:
                _say_why(part.get_name(), part.exception())
            return 1
        logger.info("leaving, as asked")
        return 0
    finally:
        await _end(parts)
        await operator.lease.release()
        await cluster.close()


class Operator:
    """The parts, wired."""

    def __init__(self, cluster: KubeCluster, settings: Settings, identity: str) -> None:
        self._cluster = cluster
        self._settings = settings
        self._memory = Memory()
        self._shown = Shown()
        self._listing = Listing(cluster, settings.namespaces)
        self.lease = Lease(
            cluster=cluster, namespace=settings.own_namespace, identity=identity, now=_now, clock=time.monotonic
        )
        self._metrics = Metrics(
            queue_depth=lambda: self._queue.depth(),
            longest_work=lambda: self._queue.longest_work(),
            lease_held=lambda: self.lease.held,
            phases=lambda: self._shown.phases(without=self.vitals.ghosts),
        )
        self._queue = WorkQueue(self._metrics.timed(self._reconcile), workers=settings.workers)
        self.vitals = Vitals(
            list_versions=self._listing.versions,
            shown_versions=self._shown.versions,
            longest_work=self._queue.longest_work,
            recovered=self._enqueue_unfinished,
            clock=time.monotonic,
        )
        self._poller = Poller(
            url=settings.progress_url,
            seconds=settings.progress_seconds,
            memory=self._memory,
            enqueue=self._queue.add,
            now=_now,
        )
        self.served = application(
            complaints=self.vitals.complaints, waits_for=self._waits_for, registry=self._metrics.registry
        )

    async def act(self, started: Callable[[], None]) -> None:
        """Wait for permissions and for the lease, then work.

        `started` is called when Kopf has taken the signals for itself.
        Raises whatever ended the first part that ended.
        """
        # In this order, for the lease is renewed only once everything else runs.
        await self._listing.wait_until_allowed()
        await self._say_what_kueue_lacks()
        await self.lease.acquire()
        async with asyncio.TaskGroup() as group:
            for name, part in {
                "lease": self.lease.hold(),
                "watches": self._watch(started),
                "queue": self._queue.run(),
                "check of the watches": self.vitals.check(),
                "resync": resync(self._unfinished, self._queue.add_after, seconds=self._settings.resync_seconds),
                "progress poller": self._poller.run(),
            }.items():
                group.create_task(_for_ever(name, part))

    async def _say_what_kueue_lacks(self) -> None:
        """Once, for nothing fails without it."""
        if not self._settings.kueue:
            return
        try:
            complaint = await workloads.complaint(self._settings.namespaces, self._cluster)
        except ClusterError as error:
            complaint = str(error)
        if complaint:
            logger.warning("FINETUNE_OPERATOR_KUEUE is true, but why a Job waits cannot be told: %s", complaint)

    async def _watch(self, started: Callable[[], None]) -> None:
        namespaces = self._settings.namespaces
        tasks = await kopf.spawn_tasks(
            registry=registry(
                shown=self._shown,
                enqueue=self._queue.add,
                listeners=(self._memory, self._poller),
                forget=self._memory.forget,
                count=self._metrics.event,
                connection=self._cluster.connection,
            ),
            settings=kopf_settings(),
            namespaces=namespaces,
            clusterwide=not namespaces,
        )
        started()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            task = done.pop()
            raise PartEnded(f"Kopf's {task.get_name()}, by {task.exception()!r}") from task.exception()
        finally:
            await _end(tasks)

    async def _reconcile(self, ref: Ref) -> float | None:
        return await reconcile(ref, self._cluster, self._settings, _now(), self._memory, self._shown.rivals)

    async def _unfinished(self) -> list[Ref]:
        """Thousands of finished jobs would cost half a dozen requests each, and have nothing to gain."""
        return await self._listing.refs(without=self._shown.finished())

    async def _enqueue_unfinished(self) -> None:
        for ref in await self._unfinished():
            self._queue.add(ref)

    def _waits_for(self) -> list[str]:
        waits = [] if self.lease.held else ["the lease"]
        return waits if self.vitals.populated else [*waits, "the watches"]


async def _for_ever(name: str, part: Coroutine[Any, Any, object]) -> None:
    await part
    raise PartEnded(f"the {name} ended")


async def _end(tasks: Any) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=LEAVE_SECONDS)


def _leave_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _say_why(part: str, error: BaseException | None) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    foreseen = isinstance(error, (PartEnded, LeaseLost, ClusterError, OSError))
    # The trace of what nobody foresaw is for whoever fixes the bug.
    logger.error("the %s ended: %s: %s", part, type(error).__name__, error, exc_info=None if foreseen else error)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge: from here on the time is an argument


if __name__ == "__main__":
    sys.exit(main())
