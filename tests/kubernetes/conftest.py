"""The disposable cluster: one for the whole run, a fresh namespace for each test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from binaries import KUBERNETES
from cluster import API_COMMANDS, CONTROLLER_COMMANDS, ApiServer, ControlPlane
from cluster_job import ClusterJob
from cluster_operator import Operator
from kwok import Kwok

_CRD = Path(__file__).parents[2] / "crds" / "finetunejobs.finetune.dev.yaml"
_NODES = 4


@pytest.fixture(scope="session")
def api_server(
    request: pytest.FixtureRequest, binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """Tier *api*: etcd and kube-apiserver, with no controller behind them."""
    server = ApiServer(_one_version(request.session.items, binaries), tmp_path_factory.mktemp("cluster"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _one_version(items: Sequence[pytest.Item], binaries: Callable[..., Path]) -> Path:
    """The API server that controllers of this run will talk to is of their version, and any will do without them."""
    if any("control_plane" in getattr(item, "fixturenames", ()) for item in items):
        with contextlib.suppress(pytest.skip.Exception):
            return binaries(KUBERNETES)
    return binaries(KUBERNETES, *API_COMMANDS)


@pytest.fixture(scope="session")
def controllers(api_server: ApiServer, crd: None, binaries: Callable[..., Path]) -> Iterator[ControlPlane]:
    """The CRD comes first: the garbage collector looks for new kinds only every 30 s."""
    plane = ControlPlane(api_server, binaries(KUBERNETES, *CONTROLLER_COMMANDS))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def kwok(controllers: ControlPlane, binaries: Callable[..., Path]) -> Iterator[Kwok]:
    """The nodes, and the kubelet of all of them."""
    kwok = Kwok(controllers.api, binaries(KUBERNETES, "kwok"), _NODES)
    try:
        kwok.start()
        yield kwok
    finally:
        kwok.stop()


@pytest.fixture(scope="session")
def control_plane(controllers: ControlPlane, kwok: Kwok) -> ControlPlane:
    """Tier *controlplane*: controllers, scheduler and nodes on the same API server."""
    return controllers


@pytest.fixture(scope="session")
def crd(api_server: ApiServer) -> None:
    """The FineTuneJob CRD, applied and served."""
    api_server.apply(yaml.safe_load(_CRD.read_text()))


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane) -> Iterator[Operator]:
    """The operator, watching every namespace; gone with the module, for others' objects are none of its business."""
    operator = Operator(control_plane.api)
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()


@pytest.fixture(scope="session")
def new_namespace(api_server: ApiServer) -> Callable[[], str]:
    """Makes namespaces that no test has used; they go with the cluster."""
    numbers = itertools.count()

    def create() -> str:
        name = f"test-{next(numbers)}"
        api_server.create_namespace(name)
        return name

    return create


@pytest.fixture
def namespace(new_namespace: Callable[[], str]) -> str:
    """A fresh namespace."""
    return new_namespace()


@pytest.fixture
def job(control_plane: ControlPlane, operator: Operator, namespace: str) -> ClusterJob:
    """A FineTuneJob that is not created yet, with the operator waiting for it."""
    return ClusterJob(control_plane.api.client, namespace)
