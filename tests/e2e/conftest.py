"""Tier *node*: a cluster with real pods, our own or somebody's disposable one, reached by its kubeconfig alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binaries import HELM, KUBERNETES, NoBinaries
from cluster_client import ApiError, eventually
from images.bring import bring
from node import foreign, lifecycle
from node.faults import OwnFaults
from node.packages import NoNode
from node.state import Folders, State
from real.access import Access
from real.restricted import namespace_manifest


@pytest.fixture(scope="session")
def own_nodes(say: Callable[[str], None]) -> Iterator[State | None]:
    """Two nodes on this machine, or None when FINETUNE_TEST_KUBECONFIG names a cluster."""
    try:
        if foreign.kubeconfig(os.environ):
            yield None
            return
        with lifecycle.held(os.environ, os.geteuid() == 0, say) as state:
            yield state
    except foreign.NotDisposable as refused:
        pytest.exit(str(refused), returncode=pytest.ExitCode.USAGE_ERROR)
    except (NoNode, NoBinaries) as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def cluster(
    own_nodes: State | None, binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Access]:
    """What a user of the cluster has: a kubeconfig, kubectl and helm."""
    kubeconfig = foreign.kubeconfig(os.environ) or Folders.of(os.environ).kubeconfig
    access = Access(
        kubeconfig,
        kubectl=binaries(KUBERNETES, "kubectl") / "kubectl",
        helm=binaries(HELM) / "helm",
        folder=tmp_path_factory.mktemp("cluster"),
    )
    try:
        access.start()
        yield access
    finally:
        access.stop()


@pytest.fixture(scope="session")
def own_images(own_nodes: State | None, say: Callable[[str], None]) -> None:
    """The images of this checkout on our own nodes; a cluster of others has those that its owner loaded."""
    if own_nodes is None:
        return
    try:
        bring(own_nodes, os.environ, say)
    except (NoNode, NoBinaries) as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def faults(cluster: Access, own_nodes: State | None) -> OwnFaults:
    """Faults of machines, where they are ours."""
    if own_nodes is None:
        pytest.skip("needs nodes of our own, not those of FINETUNE_TEST_KUBECONFIG")
    return OwnFaults(own_nodes, cluster.client)


@pytest.fixture(scope="session")
def new_namespace(cluster: Access) -> Iterator[Callable[[], str]]:
    """Makes namespaces that enforce Pod Security `restricted`; they go with the run."""
    made: list[str] = []

    def create() -> str:
        name = f"test-{secrets.token_hex(4)}"
        cluster.client.request("POST", "/api/v1/namespaces", namespace_manifest(name))
        made.append(name)
        eventually(lambda: _takes_pods(cluster, name))
        return name

    yield create
    for name in made:
        with contextlib.suppress(ApiError):
            cluster.client.request("DELETE", f"/api/v1/namespaces/{name}")


def _takes_pods(cluster: Access, namespace: str) -> bool:
    """Pods are admitted with a service account, and start with the authority that signed the API server."""
    try:
        cluster.client.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        cluster.client.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt")
    except ApiError:
        return False
    return True


@pytest.fixture
def namespace(new_namespace: Callable[[], str]) -> str:
    """A fresh namespace."""
    return new_namespace()
