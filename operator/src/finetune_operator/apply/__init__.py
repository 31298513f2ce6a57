"""What the operator asks of a cluster, real or local: children are created, read and deleted, never patched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from finetune_api.contract import API_VERSION, KIND

Body = Mapping[str, Any]
"""An object as the API server returns it."""
Manifest = dict[str, Any]
"""An object as we ask for it."""


class Kind(Enum):
    """The kinds we touch: (apiVersion, kind, plural). Of other people's kinds, Workloads, we only read."""

    FINE_TUNE_JOB = (API_VERSION, KIND, "finetunejobs")
    JOB = ("batch/v1", "Job", "jobs")
    POD = ("v1", "Pod", "pods")
    SERVICE = ("v1", "Service", "services")
    CONFIG_MAP = ("v1", "ConfigMap", "configmaps")
    NETWORK_POLICY = ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
    WORKLOAD = ("kueue.x-k8s.io/v1beta2", "Workload", "workloads")

    @property
    def api_version(self) -> str:
        return self.value[0]

    @property
    def kind(self) -> str:
        return self.value[1]

    @property
    def plural(self) -> str:
        return self.value[2]


CHILDREN = (Kind.JOB, Kind.POD, Kind.SERVICE, Kind.CONFIG_MAP, Kind.NETWORK_POLICY)
"""What a FineTuneJob owns, and what that owns."""


@dataclass(frozen=True)
class Ref:
    """Where one object is found."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """A moment worth telling a person, about one FineTuneJob."""

    type: str
    """Normal or Warning."""
    reason: str
    message: str


class ClusterError(Exception):
    """The API server's answer was no; the message is its own sentence."""


class AlreadyExists(ClusterError):
    """The name is taken."""


class Conflict(ClusterError):
    """A resourceVersion or uid precondition did not hold: look again."""


class Rejected(ClusterError):
    """Invalid, forbidden, over quota, or the namespace is going away: refused until something else changes."""


class Unavailable(ClusterError):
    """No answer, 5xx or 429: the same request may succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cluster(Protocol):
    """KubeCluster and LocalCluster. Every method may raise Unavailable."""

    async def get(self, ref: Ref) -> Body | None:
        """The object as it is now, read from the server and never from a cache; None when there is none."""

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        """Objects with all these labels, in one namespace or in all."""

    async def create(self, manifest: Manifest) -> Body:
        """Raises AlreadyExists or Rejected."""

    async def delete(self, ref: Ref, *, uid: str, grace_seconds: int | None = None) -> None:
        """Delete in the foreground the object with this uid; gone already is success.

        Raises Conflict when the name now belongs to another uid, or Rejected.
        """

    async def write_status(self, ref: Ref, status: Body, *, resource_version: str) -> Body:
        """Replace `.status` of a FineTuneJob and return the object. Raises Conflict when it changed or is gone."""

    async def post_event(self, about: Body, event: Event) -> None:
        """Best effort; never raises."""
