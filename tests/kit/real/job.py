"""One FineTuneJob on real pods: applied and changed with kubectl, watched over REST, explained when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cluster_client import (
    CONFIG_MAPS,
    FINETUNE_JOBS,
    JOBS,
    NETWORK_POLICIES,
    PODS,
    SERVICES,
    Manifest,
)
from finetune_api.contract import LABEL_ATTEMPT, LABEL_MANAGED, LABEL_STAGE, Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity
from finetune_api.status import Attempt, Phase, Status
from jobs import make_body
from real.access import Access
from real.account import account

T = TypeVar("T")

_ENDS = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})
_CHILDREN = {
    "ConfigMap": CONFIG_MAPS,
    "Job": JOBS,
    "NetworkPolicy": NETWORK_POLICIES,
    "Pod": PODS,
    "Service": SERVICES,
}
_EVERY_SECONDS = 0.25


@dataclass
class RealJob:
    """A job that is not applied yet, of this spec."""

    access: Access
    namespace: str
    name: str
    spec: Mapping[str, Any]
    versions: list[Status] = field(default_factory=list)
    """Each status that was seen while somebody waited, in order."""

    @property
    def manifest(self) -> Manifest:
        body = make_body(self.name, **self.spec)
        return body | {"metadata": {"name": self.name, "namespace": self.namespace}}

    def apply(self) -> str:
        """What kubectl said."""
        return self.access.apply(self.manifest)

    def change(self, **spec: Any) -> None:
        """`kubectl patch` of fields of the spec."""
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", "finetunejob", self.name, "--type=merge", f"--patch={patch}")

    def delete(self) -> None:
        """`kubectl delete`, which returns when the object is gone."""
        self.kubectl("delete", "finetunejob", self.name, within=120)

    def kubectl(self, *arguments: str, within: float = 60) -> str:
        """In the job's namespace."""
        return self.access.kubectl(f"--namespace={self.namespace}", *arguments, within=within)

    @property
    def body(self) -> Manifest | None:
        return self.access.client.get(FINETUNE_JOBS, self.namespace, self.name)

    @property
    def status(self) -> Status:
        body = self.body
        status = Status() if body is None else FineTuneJob.observed(body).status
        if not self.versions or self.versions[-1] != status:
            self.versions.append(status)
        return status

    def wait(self, found: Callable[[Status], T | None], what: str, *, within: float = 180) -> T:
        """What `found` makes of the status, once that is something.

        Raises AssertionError with all that there is to see when time runs out, or at once when the job has ended.
        """
        deadline = time.monotonic() + within
        while True:
            status = self.status
            if value := found(status):
                return value
            ended = status.phase in _ENDS
            if ended or time.monotonic() > deadline:
                why = f"ended as {status.phase}" if ended else f"waited for {within:.0f} s"
                raise AssertionError(f"{why}, not yet {what}\n\n{account(self.access, self.namespace)}")
            time.sleep(_EVERY_SECONDS)

    def ended(self, phase: Phase, *, within: float = 180) -> Status:
        """The last status; raises as `wait` when that is of another phase."""
        return self.wait(lambda status: status if status.phase is phase else None, str(phase), within=within)

    def in_training(self, attempt: int = 1, *, beyond: int = -1, within: float = 180) -> Status:
        """In mid-run: this attempt trains, and a checkpoint of a later step than `beyond` counts."""

        def trains(status: Status) -> Status | None:
            told = status.progress
            trains = (
                told is not None
                and (told.stage, told.attempt, told.activity) == (Stage.TRAIN, attempt, Activity.TRAINING)
                and told.checkpoint_step is not None
                and told.checkpoint_step > beyond
            )
            return status if trains else None

        return self.wait(trains, f"in train attempt {attempt} with a checkpoint beyond step {beyond}", within=within)

    def attempt(self, stage: Stage, number: int) -> Attempt:
        """As the status tells it."""
        return next(each for each in self.status.attempts if (each.stage, each.number) == (stage, number))

    def pods(self, stage: Stage, attempt: int | None = None) -> list[Manifest]:
        """Of one attempt or all, by their index."""
        selector = f"{LABEL_STAGE}={stage.lower()}" + (f",{LABEL_ATTEMPT}={attempt}" if attempt else "")
        pods = self.access.client.list(PODS, self.namespace, selector)
        return sorted(pods, key=lambda pod: pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])

    def log(self, pod: str) -> str:
        return self.kubectl("logs", pod)

    def children(self) -> list[str]:
        """`Kind/name` of everything in the namespace that was made for a job, pods included."""
        return sorted(
            f"{kind}/{item['metadata']['name']}"
            for kind, resource in _CHILDREN.items()
            for item in self.access.client.list(resource, self.namespace, f"{LABEL_MANAGED}=true")
        )
