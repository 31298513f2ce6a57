"""The disposable cluster: one for the whole run, a fresh namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from binaries import CONTROL_PLANE, KWOK
from cluster import API_COMMANDS, CONTROLLER_COMMANDS, ApiServer, ControlPlane
from kwok import Kwok

_CRD = Path(__file__).parents[2] / "crds" / "finetunejobs.finetune.dev.yaml"
_NODES = 4


@pytest.fixture(scope="session")
def api_server(binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Tier *api*: etcd and kube-apiserver, with no controller behind them."""
    server = ApiServer(binaries(CONTROL_PLANE, *API_COMMANDS), tmp_path_factory.mktemp("cluster"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def control_plane(api_server: ApiServer, binaries: Callable[..., Path]) -> Iterator[ControlPlane]:
    """Tier *controlplane*: controllers, scheduler and kwok's nodes on the same API server."""
    plane = ControlPlane(api_server, binaries(CONTROL_PLANE, *CONTROLLER_COMMANDS))
    kwok = Kwok(api_server, binaries(KWOK), _NODES)
    try:
        plane.start()
        kwok.start()
        yield plane
    finally:
        kwok.stop()
        plane.stop()


@pytest.fixture(scope="session")
def crd(api_server: ApiServer) -> None:
    """The FineTuneJob CRD, applied and served."""
    api_server.apply(yaml.safe_load(_CRD.read_text()))


@pytest.fixture(scope="session")
def namespace_names() -> Iterator[str]:
    """Names that no test of this run has used."""
    return (f"test-{number}" for number in itertools.count())


@pytest.fixture
def namespace(request: pytest.FixtureRequest, api_server: ApiServer, namespace_names: Iterator[str]) -> str:
    """A fresh namespace; on the control plane, one in which pods can already be made. It goes with the cluster."""
    name = next(namespace_names)
    if "control_plane" in request.fixturenames:
        request.getfixturevalue("control_plane").create_namespace(name)
    else:
        api_server.create_namespace(name)
    return name
