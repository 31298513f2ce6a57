"""The NetworkPolicy of an attempt: as a manifest, and by which connections a network that enforces it allows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_operator.apply import Manifest
from finetune_operator.render import render
from finetune_operator.settings import Destination, Settings
from network_policy import Endpoint, Network
from observed import TRAIN_1, a_fine_tune_job, an_attempt, prepared_status

SETTINGS = Settings(trainer_image="registry.example/trainer:1", own_namespace="finetune-system")
INSTANCE_METADATA = Destination("169.254.169.254/32", 80)
WITH_KEYS = {"secretName": "s3"}
IN_AWS: dict[str, Any] = {}

THIS_GANG = {"podSelector": {"matchLabels": {"batch.kubernetes.io/job-name": TRAIN_1}}}
ANYWHERE = [
    {
        "ipBlock": {
            "cidr": "0.0.0.0/0",
            "except": ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"],
        }
    },
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128"]}},
]
SPEC = {
    "podSelector": THIS_GANG["podSelector"],
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {"from": [THIS_GANG]},
        {
            "from": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "finetune-system"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "finetune-operator"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 8080}],
        },
    ],
    "egress": [
        {"to": [THIS_GANG]},
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"to": ANYWHERE, "ports": [{"protocol": "TCP", "port": 9000}]},
    ],
}


def policy(storage: dict[str, Any], settings: Settings = SETTINGS, **attempt: Any) -> Manifest:
    children = render(a_fine_tune_job(prepared_status(an_attempt(**attempt)), storage=storage), settings)
    (found,) = [child for child in children if child["kind"] == "NetworkPolicy"]
    return found


def test_a_gang_keeps_to_itself_its_store_and_the_operator() -> None:
    children = render(a_fine_tune_job(storage={**WITH_KEYS, "endpoint": "http://s3.example:9000"}), SETTINGS)
    config_map, found, *_ = children
    assert found == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": config_map["metadata"],
        "spec": SPEC,
    }


def test_an_administrator_can_do_without() -> None:
    settings = Settings(trainer_image="t", network_policy=False)
    assert [child["kind"] for child in render(a_fine_tune_job(), settings)] == ["ConfigMap", "Service", "Job"]


def test_both_stages_are_closed_before_their_pods_exist() -> None:
    for stage, kinds in {
        Stage.PREPARE: ["ConfigMap", "NetworkPolicy", "Job"],
        Stage.TRAIN: ["ConfigMap", "NetworkPolicy", "Service", "Job"],
    }.items():
        children = render(a_fine_tune_job(prepared_status(an_attempt(stage=stage))), SETTINGS)
        assert [child["kind"] for child in children] == kinds


def a_pod(job_name: str, ip: str, namespace: str = "ml", **labels: str) -> Endpoint:
    return Endpoint(ip=ip, namespace=namespace, labels={"batch.kubernetes.io/job-name": job_name, **labels})


RANK_0, RANK_1 = a_pod(TRAIN_1, "10.1.0.1"), a_pod(TRAIN_1, "10.2.0.1")
NEXT_ATTEMPT = a_pod("triage-5f0c1-train-2", "10.1.0.2")
ANOTHER_JOB = a_pod("other-77aa0-train-1", "10.1.0.3")
SAME_NAME_ELSEWHERE = a_pod(TRAIN_1, "10.1.0.4", namespace="research")
NEIGHBOUR = Endpoint(ip="10.1.0.5", namespace="ml", labels={"app": "notebook"})
OPERATOR_LABELS = {"app.kubernetes.io/name": "finetune-operator", "pod-template-hash": "1"}
OPERATOR = Endpoint(ip="10.1.0.6", namespace="finetune-system", labels=OPERATOR_LABELS)
BESIDE_THE_OPERATOR = Endpoint(ip="10.1.0.7", namespace="finetune-system", labels={"app": "debug"})
DRESSED_AS_OPERATOR = Endpoint(ip="10.1.0.8", namespace="research", labels=OPERATOR_LABELS)
DNS = Endpoint(ip="10.1.0.9", namespace="kube-system", labels={"k8s-app": "kube-dns"})
DNS_ON_THE_NODE = Endpoint(ip="169.254.20.10")
STORE = Endpoint(ip="203.0.113.9")
STORE_IPV6 = Endpoint(ip="2001:db8::9")
STORE_IN_CLUSTER = Endpoint(ip="10.1.0.10", namespace="stores", labels={"app": "minio"})
WEB_IDENTITY = Endpoint(ip="198.51.100.7")
METADATA, METADATA_IPV6 = Endpoint(ip="169.254.169.254"), Endpoint(ip="fd00:ec2::254")
POD_IDENTITY = Endpoint(ip="169.254.170.23")
API_SERVER_SERVICE, API_SERVER = Endpoint(ip="10.96.0.1"), Endpoint(ip="192.168.0.1")
KUBELET = Endpoint(ip="192.168.0.2")
EVERYWHERE_ON_9000 = {**WITH_KEYS, "endpoint": "http://s3.example:9000"}

CONNECTIONS: dict[str, tuple[dict[str, Any], Endpoint, Endpoint, int, bool]] = {
    "a rank joins rank 0": (EVERYWHERE_ON_9000, RANK_1, RANK_0, 29500, True),
    "ranks reach each other by any port": (EVERYWHERE_ON_9000, RANK_0, RANK_1, 41234, True),
    "another attempt's pod does not join": (EVERYWHERE_ON_9000, NEXT_ATTEMPT, RANK_0, 29500, False),
    "nor does this one's join the next": (EVERYWHERE_ON_9000, RANK_0, NEXT_ATTEMPT, 29500, False),
    "another job's pod does not join": (EVERYWHERE_ON_9000, ANOTHER_JOB, RANK_0, 29500, False),
    "a name is good in its own namespace": (EVERYWHERE_ON_9000, SAME_NAME_ELSEWHERE, RANK_0, 29500, False),
    "a neighbour reaches no rank": (EVERYWHERE_ON_9000, NEIGHBOUR, RANK_0, 29500, False),
    "a neighbour hears of no progress": (EVERYWHERE_ON_9000, NEIGHBOUR, RANK_0, 8080, False),
    "the world reaches no rank": (EVERYWHERE_ON_9000, STORE, RANK_0, 8080, False),
    "a rank reaches no neighbour": (EVERYWHERE_ON_9000, RANK_0, NEIGHBOUR, 80, False),
    "a rank does not ask the operator": (EVERYWHERE_ON_9000, RANK_0, OPERATOR, 8080, False),
    "the operator asks for progress": (EVERYWHERE_ON_9000, OPERATOR, RANK_0, 8080, True),
    "and for nothing else": (EVERYWHERE_ON_9000, OPERATOR, RANK_0, 29500, False),
    "its neighbour does not": (EVERYWHERE_ON_9000, BESIDE_THE_OPERATOR, RANK_0, 8080, False),
    "nor does who wears its labels": (EVERYWHERE_ON_9000, DRESSED_AS_OPERATOR, RANK_0, 8080, False),
    "names are resolved": (EVERYWHERE_ON_9000, RANK_0, DNS, 53, True),
    "by a cache on the node, too": (EVERYWHERE_ON_9000, RANK_0, DNS_ON_THE_NODE, 53, True),
    "the store answers on its port": (EVERYWHERE_ON_9000, RANK_0, STORE, 9000, True),
    "by its other address, too": (EVERYWHERE_ON_9000, RANK_0, STORE_IPV6, 9000, True),
    "and on no other": (EVERYWHERE_ON_9000, RANK_0, STORE, 443, False),
    "a scheme is a port": ({**WITH_KEYS, "endpoint": "https://s3.example"}, RANK_0, STORE, 443, True),
    "without TLS, too": ({**WITH_KEYS, "endpoint": "http://s3.example"}, RANK_0, STORE, 80, True),
    "port 80 leads to no metadata": ({**WITH_KEYS, "endpoint": "http://s3.example"}, RANK_0, METADATA, 80, False),
    "an address is that address": ({**WITH_KEYS, "endpoint": "http://203.0.113.9:9000"}, RANK_0, STORE, 9000, True),
    "and no other": ({**WITH_KEYS, "endpoint": "http://203.0.113.9:9000"}, RANK_0, WEB_IDENTITY, 9000, False),
    "an endpoint opens no metadata": ({**WITH_KEYS, "endpoint": "http://169.254.169.254"}, RANK_0, METADATA, 80, False),
    "AWS is HTTPS": (IN_AWS | WITH_KEYS, RANK_0, STORE, 443, True),
    "and not HTTP": (IN_AWS | WITH_KEYS, RANK_0, STORE, 80, False),
    "a web identity becomes keys by HTTPS": ({"endpoint": "http://s3.example:9000"}, RANK_0, WEB_IDENTITY, 443, True),
    "with keys it need not": (EVERYWHERE_ON_9000, RANK_0, WEB_IDENTITY, 443, False),
    "a pod identity is asked for without keys": (IN_AWS, RANK_0, POD_IDENTITY, 80, True),
    "and not with keys": (IN_AWS | WITH_KEYS, RANK_0, POD_IDENTITY, 80, False),
    "no node's keys": (IN_AWS, RANK_0, METADATA, 80, False),
    "no node's keys by HTTPS": (IN_AWS, RANK_0, METADATA, 443, False),
    "no node's keys by IPv6": (IN_AWS, RANK_0, METADATA_IPV6, 443, False),
    # What comes after the Service's translation is the server's own port, and a pod has no credentials for it anyway.
    "the API server is not a store": (EVERYWHERE_ON_9000, RANK_0, API_SERVER_SERVICE, 443, False),
    "and has another port than AWS": (IN_AWS, RANK_0, API_SERVER, 6443, False),
    "its Service cannot be told from AWS": (IN_AWS, RANK_0, API_SERVER_SERVICE, 443, True),
    "a kubelet is not asked": (IN_AWS, RANK_0, KUBELET, 10250, False),
}
CONNECTIONS |= {
    f"a store in the cluster is found as {host}": (
        {**WITH_KEYS, "endpoint": f"http://{host}"},
        RANK_0,
        STORE_IN_CLUSTER,
        9000,
        True,
    )
    for host in ("minio.stores.svc", "minio.stores.svc.cluster.local:80", "minio-0.minio.stores.svc.cluster.local")
}
CONNECTIONS |= {
    "a short name is the own namespace's": ({**WITH_KEYS, "endpoint": "http://minio"}, RANK_0, NEIGHBOUR, 9000, True),
    "and no other's": ({**WITH_KEYS, "endpoint": "http://minio"}, RANK_0, STORE_IN_CLUSTER, 9000, False),
    "a store in the cluster opens nothing outside": (
        {**WITH_KEYS, "endpoint": "http://minio.stores.svc"},
        RANK_0,
        STORE,
        80,
        False,
    ),
}


@pytest.mark.parametrize("blocks_match_pods", [True, False])
@pytest.mark.parametrize(("storage", "source", "destination", "port", "allowed"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_who_reaches_whom(
    storage: dict[str, Any],
    source: Endpoint,
    destination: Endpoint,
    port: int,
    allowed: bool,
    blocks_match_pods: bool,
) -> None:
    network = Network(policies=[policy(storage)], blocks_match_pods=blocks_match_pods)
    assert network.allows(source, destination, port) is allowed


FROM_THE_HUB = {"data": {"sources": [{"uri": "s3://raw/a.jsonl"}, {"uri": "hf://datasets/owner/name/*.parquet"}]}}
EXAMS_FROM_THE_HUB = {
    "data": {
        "sources": [{"uri": "s3://raw/a.jsonl"}],
        "decontamination": {"benchmarks": [{"uri": "hf://datasets/owner/exam/*.jsonl"}]},
    }
}


@pytest.mark.parametrize(
    ("spec", "stage", "hub_endpoint", "port", "allowed"),
    [
        (FROM_THE_HUB, Stage.PREPARE, None, 443, True),
        (EXAMS_FROM_THE_HUB, Stage.PREPARE, None, 443, True),
        (FROM_THE_HUB, Stage.TRAIN, None, 443, False),
        ({}, Stage.PREPARE, None, 443, False),
        (FROM_THE_HUB, Stage.PREPARE, "http://hub.example:8081", 8081, True),
        (FROM_THE_HUB, Stage.PREPARE, "http://hub.example:8081", 443, True),  # where its large files are
        ({}, Stage.PREPARE, "http://hub.example:8081", 8081, False),
    ],
)
def test_the_hub_is_reached_by_preparation_where_something_lies_there(
    spec: dict[str, Any], stage: Stage, hub_endpoint: str | None, port: int, allowed: bool
) -> None:
    settings = dataclasses.replace(SETTINGS, hub_endpoint=hub_endpoint)
    job = a_fine_tune_job(prepared_status(an_attempt(stage=stage)), storage=EVERYWHERE_ON_9000, **spec)
    (found,) = [child for child in render(job, settings) if child["kind"] == "NetworkPolicy"]
    assert Network(policies=[found]).allows(RANK_0, STORE, port) is allowed


@pytest.mark.parametrize(
    ("tracking", "stage", "port", "allowed"),
    [
        ({"type": "MLflow", "uri": "http://mlflow.example:5000"}, Stage.TRAIN, 5000, True),
        ({"type": "MLflow", "uri": "http://mlflow.example:5000"}, Stage.PREPARE, 5000, False),
        ({"type": "WandB"}, Stage.TRAIN, 443, True),
        ({"type": "WandB", "uri": "https://wandb.example:8443"}, Stage.TRAIN, 443, False),
        ({}, Stage.TRAIN, 443, False),
    ],
)
def test_the_tracker_is_reached_by_training(tracking: dict[str, Any], stage: Stage, port: int, allowed: bool) -> None:
    job = a_fine_tune_job(prepared_status(an_attempt(stage=stage)), storage=EVERYWHERE_ON_9000, tracking=tracking)
    (found,) = [child for child in render(job, SETTINGS) if child["kind"] == "NetworkPolicy"]
    assert Network(policies=[found]).allows(RANK_0, STORE, port) is allowed


def test_names_are_resolved_by_udp() -> None:
    assert Network(policies=[policy(EVERYWHERE_ON_9000)]).allows(RANK_0, DNS, 53, "UDP")


def test_two_jobs_in_one_namespace_stay_apart_though_both_have_a_policy() -> None:
    one, two = policy(IN_AWS), policy(IN_AWS, job_name="other-77aa0-train-1")
    network = Network(policies=[one, two])
    assert network.allows(RANK_1, RANK_0, 29500)
    assert not network.allows(ANOTHER_JOB, RANK_0, 29500)
    assert not network.allows(RANK_0, ANOTHER_JOB, 29500)


def test_a_namespace_that_is_closed_by_default_is_opened_for_what_training_needs() -> None:
    closed = {"metadata": {"namespace": "ml"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    network = Network(policies=[closed, policy(EVERYWHERE_ON_9000)])
    assert network.allows(RANK_1, RANK_0, 29500)
    assert network.allows(RANK_0, STORE, 9000)


def test_an_administrator_opens_the_instance_metadata_by_name_alone() -> None:
    settings = Settings(trainer_image="t", egress=(INSTANCE_METADATA,))
    network = Network(policies=[policy(WITH_KEYS, settings)])
    assert network.allows(RANK_0, METADATA, 80)
    assert not network.allows(RANK_0, METADATA, 443)
    assert not network.allows(RANK_0, Endpoint(ip="169.254.169.253"), 80)


def test_an_administrator_names_who_reads_metrics() -> None:
    prometheus = Endpoint(ip="10.1.0.20", namespace="monitoring", labels={"app": "prometheus"})
    assert not Network(policies=[policy(WITH_KEYS)]).allows(prometheus, RANK_0, 8080)
    settings = dataclasses.replace(SETTINGS, metrics_namespaces=("monitoring",))
    network = Network(policies=[policy(WITH_KEYS, settings)])
    assert network.allows(prometheus, RANK_0, 8080)
    assert network.allows(OPERATOR, RANK_0, 8080)
    assert not network.allows(prometheus, RANK_0, 29500)
    assert not network.allows(NEIGHBOUR, RANK_0, 8080)


def test_the_operator_is_known_by_the_labels_of_its_installation() -> None:
    settings = Settings(trainer_image="t", own_namespace="finetune-system", own_labels={"app": "debug"})
    network = Network(policies=[policy(WITH_KEYS, settings)])
    assert network.allows(BESIDE_THE_OPERATOR, RANK_0, 8080)
    assert not network.allows(OPERATOR, RANK_0, 8080)
