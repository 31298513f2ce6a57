"""One FineTuneJob in the disposable cluster, and everything in its namespace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster_client import (
    CONFIG_MAPS,
    FINETUNE_JOBS,
    JOBS,
    NETWORK_POLICIES,
    PODS,
    RESOURCE_QUOTAS,
    SERVICES,
    ApiError,
    Client,
    Manifest,
    eventually,
)
from finetune_api.contract import LABEL_ATTEMPT, LABEL_STAGE, Stage
from finetune_api.job import FineTuneJob
from finetune_api.status import ConditionType, Phase, Status
from finetune_operator.decide.reasons import Reason
from jobs import make_body, merge
from kwok import Exit, script

_CHILDREN = {
    "ConfigMap": CONFIG_MAPS,
    "Job": JOBS,
    "NetworkPolicy": NETWORK_POLICIES,
    "Pod": PODS,
    "Service": SERVICES,
}
_ENDS = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


class ClusterJob:
    """A FineTuneJob that has its namespace to itself."""

    def __init__(self, client: Client, namespace: str, name: str = "triage") -> None:
        self.client = client
        self.namespace = namespace
        self.name = name

    def manifest(self, fates: Mapping[tuple[Stage, int], Exit], **spec: Any) -> Manifest:
        """The smallest valid job whose pods end as `fates` say; its output is its own."""
        own = {"podMetadata": {"annotations": script(fates)}, "output": {"uri": f"s3://models/{self.namespace}"}}
        body = make_body(self.name, **merge(own, spec))
        return body | {"metadata": {"name": self.name, "namespace": self.namespace}}

    def create(self, fates: Mapping[tuple[Stage, int], Exit], **spec: Any) -> None:
        created = self.client.create(FINETUNE_JOBS, self.manifest(fates, **spec))
        self._created_at: str = created["metadata"]["resourceVersion"]

    def change(self, **spec: Any) -> None:
        self.client.patch(FINETUNE_JOBS, self.namespace, self.name, {"spec": spec})

    def delete(self, propagation: str = "Background") -> None:
        self.client.delete(FINETUNE_JOBS, self.namespace, self.name, propagation)

    @property
    def body(self) -> Manifest | None:
        return self.client.get(FINETUNE_JOBS, self.namespace, self.name)

    @property
    def uid(self) -> str:
        body = self.body
        assert body is not None
        uid: str = body["metadata"]["uid"]
        return uid

    @property
    def versions(self) -> list[FineTuneJob]:
        """Every version of the object since it was created."""
        replayed = self.client.history(FINETUNE_JOBS, self.namespace, self._created_at)
        return [FineTuneJob.observed(body) for body in replayed]

    @property
    def status(self) -> Status:
        body = self.body
        return Status() if body is None else FineTuneJob.observed(body).status

    def wait(self, phase: Phase, timeout_seconds: float = 60.0) -> Status:
        """Wait for a phase; fails at once, with the whole status, when the job has ended in another."""

        def reached() -> Status | None:
            status = self.status
            if status.phase in _ENDS and status.phase != phase:
                raise AssertionError(f"{self.namespace}/{self.name} ended as {status.phase}: {status!r}")
            return status if status.phase == phase else None

        return eventually(reached, timeout_seconds)

    def said(self, kind: ConditionType, reason: Reason) -> str | None:
        """The message of a condition while it has this reason."""
        found = {each.type: each for each in self.status.conditions}.get(kind)
        return found.message if found is not None and found.reason == reason else None

    def children(self) -> list[str]:
        """`Kind/name` of all that the job's namespace holds beside the job and what every namespace has."""
        return sorted(
            f"{kind}/{item['metadata']['name']}"
            for kind, resource in _CHILDREN.items()
            for item in self.client.list(resource, self.namespace)
            if item["metadata"]["name"] != "kube-root-ca.crt"
        )

    def pods(self, stage: Stage, attempt: int) -> list[Manifest]:
        selector = f"{LABEL_STAGE}={stage.lower()},{LABEL_ATTEMPT}={attempt}"
        return self.client.list(PODS, self.namespace, selector)

    def end_pods(self, stage: Stage, attempt: int, end: Exit) -> None:
        """Make all pods of an attempt end so; waits until there are some."""
        for pod in eventually(lambda: self.pods(stage, attempt)):
            change = {"metadata": {"annotations": end.annotations()}}
            try:
                self.client.patch(PODS, self.namespace, pod["metadata"]["name"], change)
            except ApiError as error:
                # The Job controller deletes the others once one has failed.
                if error.status != 404:
                    raise


def no_jobs_allowed(job: ClusterJob) -> Callable[[], None]:
    """Put a quota on the job's namespace that refuses every Job; call what is returned to lift it."""
    name = "no-jobs"
    quota = {
        "metadata": {"name": name, "namespace": job.namespace},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    job.client.create(RESOURCE_QUOTAS, quota)
    return lambda: job.client.delete(RESOURCE_QUOTAS, job.namespace, name)
