"""Jobs whose pods cannot run as they were asked for: what is said of each, and what puts it right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from cluster_client import Manifest
from finetune_api.contract import Stage
from finetune_operator.decide.reasons import Reason
from node.state import State
from real.job import RealJob
from real.local_volume import provided
from real.nodes import first_node
from real.restricted import secret
from real.store import SECRET, Store


@dataclass(frozen=True)
class Means:
    """Of whoever puts things right."""

    store: Store
    nodes: State | None
    """Our own, if they are."""
    stack: ExitStack
    """Takes away what lies in no namespace."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One thing that is wrong."""

    name: str
    spec: Callable[[str], Mapping[str, Any]] = lambda _: {}
    """Of a job in this namespace."""
    given: Callable[[Store, str], Sequence[Manifest]] = lambda store, namespace: [store.keys(namespace)]
    """What this namespace holds before."""
    stage: Stage = Stage.PREPARE
    """Which does not run."""
    reason: Reason
    field: str
    says: str
    """Part of the condition's message."""
    cure: Callable[[RealJob, Means], object]
    needs_own_nodes: bool = False
    """To be cured."""


def _changed(**workers: Any) -> Callable[[RealJob, Means], None]:
    """Workers may change while a job is suspended."""

    def change(job: RealJob, means: Means) -> None:
        job.change(suspend=True)
        job.kubectl("wait", f"finetunejob/{job.name}", "--for=condition=Suspended", "--timeout=60s", within=70)
        job.change(workers=workers)
        job.change(suspend=False)

    return change


def _mend_secret(job: RealJob, means: Means) -> None:
    job.access.apply(means.store.keys(job.namespace))


def _raise_quota(job: RealJob, means: Means) -> None:
    job.access.apply(_quota(job.namespace, "8Gi"))


def _provide_class(job: RealJob, means: Means) -> None:
    assert means.nodes is not None
    means.stack.enter_context(provided(job.access, means.nodes, first_node(job.access), _storage_class(job.namespace)))


def _storage_class(namespace: str) -> str:
    return f"fast-{namespace}"


def _quota(namespace: str, memory: str) -> Manifest:
    """The pod of preparation asks for 1Gi, a training pod for 2Gi."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "team", "namespace": namespace},
        "spec": {"hard": {"requests.memory": memory}},
    }


MISTAKES = (
    Mistake(
        name="an image that does not exist",
        spec=lambda _: {"workers": {"image": "localhost/none:1"}},
        reason=Reason.IMAGE_PULL,
        field="spec.workers.image",
        says="image localhost/none:1 cannot be pulled: ",
        cure=_changed(image=None),
    ),
    Mistake(
        name="a Secret with other keys",
        given=lambda _, namespace: [secret(SECRET, namespace, AWS_ACCESS_KEY_ID="test")],
        reason=Reason.CONTAINER_CONFIG,
        field="spec.storage.secretName",
        says=f"/{SECRET}; it must hold accessKeyId and secretAccessKey",
        cure=_mend_secret,
    ),
    Mistake(
        name="an unknown storage class",
        spec=lambda namespace: {"workers": {"resources": {"scratchStorageClass": _storage_class(namespace)}}},
        reason=Reason.UNSCHEDULABLE,
        field="spec.workers.resources.scratchStorageClass",
        says=": it may not exist, or provide none, or a quota forbids the claim; ",
        cure=_provide_class,
        needs_own_nodes=True,
    ),
    Mistake(
        name="more GPUs than a node has",
        spec=lambda _: {"workers": {"gpusPerNode": 16}},
        stage=Stage.TRAIN,
        reason=Reason.UNSCHEDULABLE,
        field="spec.workers.gpusPerNode",
        says=" Insufficient nvidia.com/gpu",
        cure=_changed(gpusPerNode=0),
    ),
    Mistake(
        name="a quota that is too small",
        given=lambda store, namespace: [store.keys(namespace), _quota(namespace, "1536Mi")],
        stage=Stage.TRAIN,
        reason=Reason.NO_PODS,
        field="spec.workers",
        says=" has 0 of 1 pods, and no more are let in: most likely a ResourceQuota is too small; ",
        cure=_raise_quota,
    ),
)
