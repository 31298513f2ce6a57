"""What a job did on a network that forbids nothing is held against its NetworkPolicies, rule by rule.

Whether a network enforces them is the cluster's matter, and no part of these nodes does. That they refuse what they
should is shown in tests/operator/test_render_network_policy.py, by the same evaluator.
"""

from __future__ import annotations

import pytest

from cluster_client import NETWORK_POLICIES
from finetune_api.contract import PORT_PROGRESS, PORT_RENDEZVOUS
from network_policy import Endpoint, Network
from node.connections import Connection, Traffic
from real.access import Access
from real.release import Release
from real.store import PORT as PORT_STORE
from real.store import Store
from real.story import Finished

pytestmark = pytest.mark.tier("node")


@pytest.fixture(scope="module")
def made(uninterrupted: Finished, traffic: Traffic) -> list[tuple[Endpoint, Endpoint, Connection]]:
    """All connections from and to the pods of one whole job."""
    # An address is given out again only when all others have been.
    endpoints = {
        ip: Endpoint(ip=ip, namespace=pod["metadata"]["namespace"], labels=pod["metadata"].get("labels", {}))
        for pod in traffic.pods
        if (ip := pod["status"].get("podIP"))
    }
    own = {ip for ip, each in endpoints.items() if each.namespace == uninterrupted.job.namespace}

    def at(ip: str) -> Endpoint:
        return endpoints.get(ip, Endpoint(ip=ip))

    return [
        (at(each.source), at(each.destination), each)
        for each in traffic.connections
        if {each.source, each.destination} & own
    ]


def test_a_whole_job_makes_no_connection_that_its_policies_refuse(
    made: list[tuple[Endpoint, Endpoint, Connection]], uninterrupted: Finished, cluster: Access
) -> None:
    policies = cluster.client.list(NETWORK_POLICIES, uninterrupted.job.namespace)
    assert len(policies) == 2
    network = Network(policies=policies)
    assert [each for source, to, each in made if not network.allows(source, to, each.port, each.protocol)] == []


def test_each_rule_is_there_for_a_connection(
    made: list[tuple[Endpoint, Endpoint, Connection]], uninterrupted: Finished, store: Store, operator_release: Release
) -> None:
    gang, keeper, operator = uninterrupted.job.namespace, store.namespace, operator_release.namespace
    seen = {(source.namespace, to.namespace, each.protocol, each.port) for source, to, each in made}
    assert (gang, gang, "TCP", PORT_RENDEZVOUS) in seen
    # Ranks reach each other by ports that the system picks; whatever else there is, is one of these.
    assert {each for each in seen if each[:2] != (gang, gang)} == {
        (operator, gang, "TCP", PORT_PROGRESS),
        (gang, keeper, "TCP", PORT_STORE),
        (gang, None, "UDP", 53),
    }
