"""The disposable cluster does what tests rely on."""

from __future__ import annotations

import json

import pytest
from cluster import ApiServer
from cluster_client import CONFIG_MAPS


@pytest.mark.tier("api")
def test_kubectl_reads_what_the_client_made(api_server: ApiServer, namespace: str) -> None:
    api_server.client.create(CONFIG_MAPS, {"metadata": {"name": "made", "namespace": namespace}, "data": {"a": "b"}})
    done = api_server.kubectl("get", "configmap", "made", "--namespace", namespace, "--output=json")
    assert json.loads(done.stdout)["data"] == {"a": "b"}


@pytest.mark.tier("api")
def test_a_restarted_server_has_kept_everything(api_server: ApiServer, namespace: str) -> None:
    api_server.client.create(CONFIG_MAPS, {"metadata": {"name": "kept", "namespace": namespace}})
    api_server.stop_server()
    assert not api_server.client.ready()
    api_server.start_server()
    assert api_server.client.get(CONFIG_MAPS, namespace, "kept") is not None
