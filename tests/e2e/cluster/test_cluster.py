"""Our own nodes do what jobs on them rely on."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Callable, Iterator

import pytest

from cluster_client import JOBS, PODS, SERVICES, Manifest, eventually
from node.addresses import SEATS
from node.containerd import POD_IMAGE
from node.faults import OwnFaults, ready
from real.access import Access, Refused

pytestmark = pytest.mark.tier("node")

PORT = 8000
each_node = pytest.mark.parametrize("node", [seat.name for seat in SEATS])


def _gang(namespace: str) -> list[Manifest]:
    """Two pods, one on each node, that answer by a name of their own and behind a Service."""
    labels = {"app": "gang"}
    container = {
        "name": "trainer",
        "image": POD_IMAGE,
        "args": ["serve", f":{PORT}"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "scratch", "mountPath": "/scratch"}],
    }
    pod = {
        "subdomain": "gang",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{taint}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for taint in ("not-ready", "unreachable")
        ],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": labels},
            }
        ],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}},
        ],
        "containers": [container],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "gang", "namespace": namespace},
            "spec": {"clusterIP": "None", "selector": labels},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "gang", "namespace": namespace},
            "spec": {
                "completionMode": "Indexed",
                "completions": len(SEATS),
                "parallelism": len(SEATS),
                "backoffLimit": 0,
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]


@pytest.fixture(scope="module")
def gang(cluster: Access, faults: OwnFaults, new_namespace: Callable[[], str]) -> Iterator[str]:
    """The namespace where two pods answer. Only nodes of our own have their image, whence `faults`."""
    namespace = new_namespace()
    cluster.apply(*_gang(namespace))
    eventually(lambda: _ready_pods(cluster, namespace) == len(SEATS))
    yield namespace
    cluster.client.delete(JOBS, namespace, "gang")


def _ready_pods(cluster: Access, namespace: str) -> int:
    return ((cluster.client.get(JOBS, namespace, "gang") or {}).get("status") or {}).get("ready", 0)


def _pod_of(cluster: Access, namespace: str, node: str) -> Manifest:
    (pod,) = [pod for pod in cluster.client.list(PODS, namespace) if pod["spec"]["nodeName"] == node]
    return pod


def _run(cluster: Access, namespace: str, pod: Manifest, *words: str) -> str:
    """What a command says that runs in the pod's container."""
    return cluster.kubectl("exec", f"--namespace={namespace}", pod["metadata"]["name"], "--", "/pod", *words)


def _fetch(cluster: Access, namespace: str, pod: Manifest, url: str) -> str:
    """The name of the pod that answers another one."""
    return _run(cluster, namespace, pod, "fetch", url).split()[0]


def _fetch_from_here(host: str, port: int) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().split()[0]
    finally:
        connection.close()


def _everybody_answers(ask: Callable[[], str]) -> None:
    """Asked often enough, a Service answers from every pod behind it."""
    answers: set[str] = set()
    eventually(lambda: answers.add(ask()) or answers == {"gang-0", "gang-1"})


@each_node
def test_a_gang_finds_every_rank_by_its_name(cluster: Access, gang: str, node: str) -> None:
    pod = _pod_of(cluster, gang, node)
    # A name comes moments after its pod is ready, and that it was absent is remembered for 5 s.
    eventually(lambda: _finds_every_rank(cluster, gang, pod))


def _finds_every_rank(cluster: Access, gang: str, pod: Manifest) -> bool:
    try:
        found = [_fetch(cluster, gang, pod, f"http://gang-{rank}.gang:{PORT}") for rank in range(len(SEATS))]
    except Refused:
        return False
    return found == ["gang-0", "gang-1"]


@each_node
def test_a_service_leads_a_pod_to_both_nodes(cluster: Access, gang: str, node: str) -> None:
    pod = _pod_of(cluster, gang, node)
    _everybody_answers(lambda: _fetch(cluster, gang, pod, "http://web"))


def test_a_service_answers_the_machine_that_the_nodes_run_on(cluster: Access, gang: str) -> None:
    service = cluster.client.get(SERVICES, gang, "web")
    assert service is not None
    _everybody_answers(lambda: _fetch_from_here(service["spec"]["clusterIP"], 80))


def test_a_pod_is_seen_by_its_own_address_on_the_other_node(cluster: Access, gang: str) -> None:
    one, two = (_pod_of(cluster, gang, seat.name) for seat in SEATS)
    says = _run(cluster, gang, one, "fetch", f"http://{two['status']['podIP']}:{PORT}")
    assert says.split()[2].rpartition(":")[0] == one["status"]["podIP"]


@each_node
def test_a_pod_reaches_the_api_server(cluster: Access, gang: str, node: str) -> None:
    says = _run(cluster, gang, _pod_of(cluster, gang, node), "fetch", "https://kubernetes.default/version")
    assert json.loads(says)["gitVersion"] == "v1.36.3"


def test_a_name_that_nobody_has_is_unknown_and_no_failure_of_names(cluster: Access, gang: str) -> None:
    with pytest.raises(Refused, match="no such host"):
        _run(cluster, gang, _pod_of(cluster, gang, SEATS[0].name), "fetch", "http://nowhere.example")


@each_node
def test_logs_come_from_the_node(cluster: Access, gang: str, node: str) -> None:
    pod = _pod_of(cluster, gang, node)
    assert cluster.kubectl("logs", f"--namespace={gang}", pod["metadata"]["name"]) == f"serving :{PORT}\n"


@each_node
def test_a_port_is_forwarded_to_the_node(cluster: Access, gang: str, node: str) -> None:
    pod = _pod_of(cluster, gang, node)
    forward, port = cluster.forward(f"pod/{pod['metadata']['name']}", gang, PORT)
    try:
        forward.start()
        forward.wait_until(lambda: "Forwarding" in forward.log_tail())
        assert _fetch_from_here("127.0.0.1", port) == pod["spec"]["hostname"]
    finally:
        forward.kill()


def test_a_pod_writes_only_where_it_may_and_shared_memory_has_its_limit(cluster: Access, gang: str) -> None:
    says = _run(cluster, gang, _pod_of(cluster, gang, SEATS[0].name), "rights", "/", "/scratch", "/dev/shm")
    who, root, scratch, shm = says.splitlines()
    assert who == "uid 65532"
    assert root.endswith("read-only file system")
    assert scratch.endswith("writable")
    assert shm == "/dev/shm 64 MiB writable"


def test_pods_go_on_while_nobody_reaches_the_api_server(cluster: Access, gang: str, faults: OwnFaults) -> None:
    pod = _pod_of(cluster, gang, SEATS[0].name)
    with faults.api_server_away():
        assert not cluster.client.ready()
        assert _fetch_from_here(pod["status"]["podIP"], PORT) == pod["spec"]["hostname"]
    after = _pod_of(cluster, gang, SEATS[0].name)
    assert after["status"]["containerStatuses"] == pod["status"]["containerStatuses"]


def test_a_killed_container_ends_as_killed(cluster: Access, namespace: str, faults: OwnFaults) -> None:
    cluster.apply(*_gang(namespace))
    eventually(lambda: _ready_pods(cluster, namespace) == len(SEATS))
    faults.kill_container(namespace, _pod_of(cluster, namespace, SEATS[1].name)["metadata"]["name"])
    assert eventually(lambda: _ended(cluster, namespace)) == 128 + signal.SIGKILL


def _ended(cluster: Access, namespace: str) -> int | None:
    """Exit code of the container on the second node, once it has ended."""
    (container,) = _pod_of(cluster, namespace, SEATS[1].name)["status"]["containerStatuses"]
    code: int | None = container["state"].get("terminated", {}).get("exitCode")
    return code


def test_a_lost_node_is_missed_and_comes_back(cluster: Access, gang: str, faults: OwnFaults) -> None:
    lost = SEATS[1].name
    here, there = (_pod_of(cluster, gang, seat.name) for seat in SEATS)
    with faults.node_lost(lost):
        eventually(lambda: not ready(cluster.client.request("GET", f"/api/v1/nodes/{lost}")), timeout_seconds=60)
        with pytest.raises(Refused, match=r"i/o timeout|no route to host|deadline exceeded"):
            _run(cluster, gang, here, "fetch", f"http://{there['status']['podIP']}:{PORT}")
    assert _fetch(cluster, gang, here, f"http://gang-1.gang:{PORT}") == "gang-1"
