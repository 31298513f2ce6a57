"""The operator lives a job's whole life with the rights that the chart gives it, and is never told that it may not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from cluster import ControlPlane
from cluster_client import eventually
from cluster_job import ClusterJob
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Cause, Phase
from kwok_results import crashed, prepared, published
from permissions import LEASE_RULES, RULES, grant, kubeconfig, num_forbidden

pytestmark = pytest.mark.tier("controlplane")


@pytest.fixture
def home(new_namespace: Callable[[], str]) -> str:
    """Where the operator's account is, and its Lease."""
    return new_namespace()


@contextlib.contextmanager
def allowed_nothing_else(control_plane: ControlPlane, home: str, *, namespace: str | None) -> Iterator[None]:
    """An operator works with its rights in this namespace, or in every one (None), and is refused nothing."""
    api = control_plane.api
    grant(api, home, RULES, namespace=namespace)
    grant(api, home, LEASE_RULES, namespace=home)
    operator = Operator(api, NAMESPACES=namespace or "", OWN_NAMESPACE=home)
    operator.process.env = {**operator.process.env, "KUBECONFIG": str(kubeconfig(api, home))}
    refused = num_forbidden(api)
    try:
        operator.start()
        yield
    finally:
        operator.kill()
    assert num_forbidden(api) == refused
    assert "forbidden" not in operator.process.log.read_text()


def test_a_whole_life_in_one_namespace_needs_no_rights_but_there(
    control_plane: ControlPlane, home: str, namespace: str
) -> None:
    job = ClusterJob(control_plane.api.client, namespace)
    with allowed_nothing_else(control_plane, home, namespace=namespace):
        job.create({(Stage.PREPARE, 1): prepared(), (Stage.TRAIN, 2): crashed(100, 2), (Stage.TRAIN, 3): published(3)})
        eventually(lambda: job.status.phase == Phase.TRAINING)
        job.change(suspend=True)
        job.wait(Phase.SUSPENDED)
        job.change(suspend=False)
        job.wait(Phase.SUCCEEDED)
        assert [each.cause for each in job.status.attempts] == [
            Cause.COMPLETED, Cause.SUSPENDED, Cause.CRASHED, Cause.COMPLETED,
        ]  # fmt: skip
        job.delete()
        eventually(lambda: not job.children())


def test_the_same_rights_in_every_namespace_are_enough_to_watch_them_all(
    control_plane: ControlPlane, home: str, namespace: str
) -> None:
    job = ClusterJob(control_plane.api.client, namespace)
    with allowed_nothing_else(control_plane, home, namespace=None):
        job.create({(Stage.PREPARE, 1): prepared(), (Stage.TRAIN, 1): published()})
        job.wait(Phase.SUCCEEDED)


def test_what_is_refused_is_counted(control_plane: ControlPlane, home: str) -> None:
    grant(control_plane.api, home, RULES, namespace=home)
    before = num_forbidden(control_plane.api)

    asked = control_plane.api.kubectl(
        "get", "secrets", f"--namespace={home}", f"--kubeconfig={kubeconfig(control_plane.api, home)}"
    )

    assert "Forbidden" in asked.stderr
    assert num_forbidden(control_plane.api) == before + 1
