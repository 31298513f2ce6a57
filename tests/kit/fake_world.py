"""One FineTuneJob on a FakeCluster, reconciled by hand: what a test of reconcile plays with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fake_cluster import FakeCluster, ref_of
from fake_nodes import FakeNodes
from finetune_api.job import FineTuneJob
from finetune_api.status import Cause, Status
from finetune_operator.apply import Body, Kind, Ref
from finetune_operator.observe.memory import Memory
from finetune_operator.reconcile import reconcile
from finetune_operator.settings import Settings
from jobs import make_body

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SETTINGS = Settings(trainer_image="registry.example/trainer:1")
PREPARE_1, TRAIN_1, TRAIN_2, TRAIN_3 = (
    f"triage-5f0c1-{stage}" for stage in ("prepare-1", "train-1", "train-2", "train-3")
)


class FakeWorld:
    """The job is `ml/triage`; `memory` hears of pods as it would from a watch."""

    def __init__(self, **spec: Any) -> None:
        self.cluster = FakeCluster(NOW)
        self.nodes = FakeNodes(self.cluster)
        self.memory = Memory()
        self.cluster.observers.append(self._watch)
        self.ref = ref_of(self.cluster.add(make_body("triage", **spec)))
        self.settings = SETTINGS
        self.rivals: tuple[Ref, ...] = ()
        """Other unfinished FineTuneJobs with the same output."""

    @property
    def job(self) -> FineTuneJob:
        return FineTuneJob.observed(self.cluster.objects[self.ref])

    @property
    def status(self) -> Status:
        return self.job.status

    @property
    def causes(self) -> list[tuple[str, Cause | None]]:
        return [(attempt.job_name, attempt.cause) for attempt in self.status.attempts]

    def condition(self, kind: str) -> tuple[str, str]:
        return next((each.status.value, each.reason) for each in self.status.conditions if each.type == kind)

    def edit(self, **spec: Any) -> None:
        body = self.cluster.objects[self.ref]
        body["spec"].update(spec)
        body["metadata"]["generation"] += 1
        self.cluster.changed(self.ref)

    def restart_operator(self) -> None:
        """Everything the process knew is lost."""
        self.memory = Memory()

    def pass_time(self, seconds: float) -> None:
        self.cluster.now += timedelta(seconds=seconds)

    async def look(self) -> float | None:
        """One reconcile."""
        return await reconcile(
            self.ref, self.cluster, self.settings, self.cluster.now, self.memory, lambda _: self.rivals
        )

    async def rest(self) -> float | None:
        """Reconcile, and let the cluster react, until nothing changes any more."""
        for _ in range(50):
            before = len(self.cluster.writes)
            self.nodes.settle()
            again = await self.look()
            self.nodes.settle()
            if len(self.cluster.writes) == before:
                return again
        raise AssertionError(f"does not come to rest: {self.cluster.writes[-20:]}")

    async def rest_over(self, seconds: float) -> None:
        """Come to rest, let the time pass, come to rest again."""
        await self.rest()
        self.pass_time(seconds)
        await self.rest()

    def names(self, kind: Kind) -> list[str]:
        return self.cluster.names(kind)

    def find(self, kind: Kind, name: str) -> dict[str, Any]:
        return self.cluster.objects[Ref(kind, "ml", name)]

    def _watch(self, change: str, body: Body) -> None:
        if body["kind"] != "Pod":
            return
        if change == "DELETED":
            self.memory.pod_gone(body)
        else:
            self.memory.pod_seen(body)
