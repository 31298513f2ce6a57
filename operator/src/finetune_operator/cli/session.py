"""One job on this machine: the operator's reconcile loop over a LocalCluster, until the job is finished or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune_api.job import FineTuneJob
from finetune_api.status import ConditionStatus, ConditionType, Status
from finetune_operator.apply import Body, Event, Kind, Ref
from finetune_operator.apply.local import LocalCluster
from finetune_operator.apply.local.machine import Machine
from finetune_operator.apply.local.objects import ref_of
from finetune_operator.cli.stopping import STOPPING
from finetune_operator.cli.view import View
from finetune_operator.decide.conditions import condition, is_finished
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.progress import Poller
from finetune_operator.reconcile import reconcile
from finetune_operator.settings import Settings

Clock = Callable[[], datetime]
_TOLD_AT_THE_END = ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What is left to tell."""

    job: FineTuneJob
    """As it stood last."""
    stopped_by: signal.Signals | None
    """None when the job came to its own end."""
    log: Path | None
    """Output of the pod that decided the end of the last attempt, when one failed."""


class Session:
    """Everything of one run that lives in the event loop. No process is left when `run` returns or raises."""

    def __init__(self, machine: Machine, settings: Settings, clock: Clock, view: View) -> None:
        self._settings = settings
        self._clock = clock
        self._view = view
        self._memory = Memory()
        self._changed = asyncio.Event()
        self._stopped_by: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        self._failed: dict[str, int] = {}
        self._cluster = LocalCluster(
            machine,
            clock=clock,
            gpu_resource=settings.gpu_resource,
            tell=self._tell,
            random_source=random.Random(),  # noqa: S311 - port numbers and ends of names
        )
        self._poller = Poller(
            url=settings.progress_url,
            seconds=settings.progress_seconds,
            memory=self._memory,
            enqueue=lambda _ref: self._changed.set(),
            now=clock,
        )
        self._cluster.watch(self._see)

    async def run(self, manifest: dict[str, Any], uid: str) -> Ended:
        if self._cluster.num_leftovers:
            self._view.note(f"ended what an earlier run had left running ({self._cluster.num_leftovers} pods)")
        ref = ref_of(self._cluster.add(manifest, uid=uid))
        try:
            with self._signals():
                await self._until_finished_or_stopped(ref)
                await self._cluster.close()
        finally:
            self._cluster.kill()
            await self._cluster.close()
        job = await self._job(ref)
        return Ended(
            job=job,
            stopped_by=self._stopped_by.result() if self._stopped_by.done() else None,
            log=self._log(job),
        )

    async def _until_finished_or_stopped(self, ref: Ref) -> None:
        tasks = [asyncio.create_task(self._reconcile(ref)), asyncio.create_task(self._poller.run())]
        ends: list[asyncio.Future[Any]] = [*tasks, self._stopped_by]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                end.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reconcile(self, ref: Ref) -> None:
        while True:
            self._changed.clear()
            again = await reconcile(ref, self._cluster, self._settings, self._clock(), self._memory)
            job = await self._job(ref)
            self._view.show(job)
            if is_finished(job.status) or is_true(job.status, ConditionType.STALLED):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again):
                    await self._changed.wait()

    async def _job(self, ref: Ref) -> FineTuneJob:
        body = await self._cluster.get(ref)
        if body is None:
            raise RuntimeError(f"the object of {ref.name} is gone, and nobody deletes it here")
        return FineTuneJob.observed(body)

    def _see(self, change: str, body: Body) -> None:
        self._changed.set()
        if body["kind"] != Kind.POD.kind:
            return
        if change == "DELETED":
            self._memory.pod_gone(body)
            self._poller.pod_gone(body)
        else:
            self._memory.pod_seen(body)
            self._poller.pod_seen(body)
        if body["status"].get("phase") == "Failed" and "deletionTimestamp" not in body["metadata"]:
            ended = body["status"]["containerStatuses"][0]["state"]["terminated"]
            self._failed[body["metadata"]["name"]] = ended["exitCode"]

    def _tell(self, _about: Body, event: Event) -> None:
        if event.reason not in _TOLD_AT_THE_END:
            self._view.moment(event)

    def _log(self, job: FineTuneJob) -> Path | None:
        """Output of the pod that decided the end of the last attempt."""
        if not job.status.attempts:
            return None
        attempt = job.status.attempts[-1]
        pods = [name for name in self._failed if name.startswith(f"{attempt.job_name}-")]
        deciding = [name for name in pods if self._failed[name] == attempt.exit_code]
        return self._cluster.log((deciding or pods)[0]) if pods else None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal stops the run in good order, the next one at once."""
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if self._stopped_by.done():
                self._view.note("stopping at once")
                self._cluster.kill()
            else:
                self._view.note("stopping; the workers may take a last checkpoint (Ctrl-C again: stop at once)")
                self._stopped_by.set_result(number)

        for number in STOPPING:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number in STOPPING:
                loop.remove_signal_handler(number)


def is_true(status: Status, kind: ConditionType) -> bool:
    found = condition(status, kind)
    return found is not None and found.status is ConditionStatus.TRUE
