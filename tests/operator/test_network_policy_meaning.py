"""The evaluator that judges our rules, on the examples of the documentation that it was written from.

kubernetes.io/docs/concepts/services-networking/network-policies
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from network_policy import Endpoint, Network

DB = Endpoint(ip="10.1.0.1", namespace="default", labels={"role": "db"}, ports={"redis": 6379})
FRONTEND = Endpoint(ip="10.1.0.2", namespace="default", labels={"role": "frontend"})
OTHER = Endpoint(ip="10.1.0.3", namespace="default", labels={"role": "other"})
PROJECT = Endpoint(ip="10.1.1.1", namespace="project")
STRANGER = Endpoint(ip="10.1.2.1", namespace="strangers", labels={"role": "frontend"})
INSIDE_BLOCK = Endpoint(ip="172.17.0.5")
EXCEPTED = Endpoint(ip="172.17.1.5")
LEDGER = Endpoint(ip="10.0.0.9")
WORLD = Endpoint(ip="8.8.8.8")

THE_NETWORK_POLICY_RESOURCE = """
policyTypes: [Ingress, Egress]
podSelector: {matchLabels: {role: db}}
ingress:
- from:
  - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
  - namespaceSelector: {matchLabels: {project: myproject}}
  - podSelector: {matchLabels: {role: frontend}}
  ports: [{protocol: TCP, port: 6379}]
egress:
- to: [{ipBlock: {cidr: 10.0.0.0/24}}]
  ports: [{protocol: TCP, port: 5978}]
"""
EITHER = """
podSelector: {}
ingress:
- from:
  - namespaceSelector: {matchLabels: {project: myproject}}
  - podSelector: {matchLabels: {role: frontend}}
"""
BOTH = """
podSelector: {}
ingress:
- from:
  - namespaceSelector: {matchLabels: {project: myproject}}
    podSelector: {matchLabels: {role: frontend}}
"""
DENY_INGRESS = "{podSelector: {}, policyTypes: [Ingress]}"
ALLOW_INGRESS = "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}"
DENY_EGRESS = "{podSelector: {}, policyTypes: [Egress]}"
ALLOW_EGRESS = "{podSelector: {}, policyTypes: [Egress], egress: [{}]}"
DENY_ALL = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
RANGE = """
podSelector: {matchLabels: {role: db}}
policyTypes: [Egress]
egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}], ports: [{protocol: TCP, port: 32000, endPort: 32768}]}]
"""
SEVERAL_NAMESPACES = """
podSelector: {matchLabels: {role: db}}
policyTypes: [Egress]
egress: [{to: [{namespaceSelector: {matchExpressions: [{key: namespace, operator: In, values: [one, two]}]}}]}]
"""
NAMED_PORT = "{podSelector: {}, ingress: [{ports: [{port: redis}]}]}"
EGRESS_WITHOUT_TYPES = "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}]}]}"
TCP_ALONE = "{podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}"


def network(*specs: str, blocks_match_pods: bool = True) -> Network:
    return Network(
        policies=[{"metadata": {"namespace": "default"}, "spec": yaml.safe_load(spec)} for spec in specs],
        namespace_labels={"project": {"project": "myproject"}, "strangers": {"namespace": "two"}},
        blocks_match_pods=blocks_match_pods,
    )


CASES: list[tuple[list[str], Endpoint, Endpoint, int, bool]] = [
    ([], STRANGER, DB, 22, True),
    ([THE_NETWORK_POLICY_RESOURCE], FRONTEND, DB, 6379, True),
    ([THE_NETWORK_POLICY_RESOURCE], FRONTEND, DB, 6380, False),
    ([THE_NETWORK_POLICY_RESOURCE], OTHER, DB, 6379, False),
    ([THE_NETWORK_POLICY_RESOURCE], STRANGER, DB, 6379, False),
    ([THE_NETWORK_POLICY_RESOURCE], PROJECT, DB, 6379, True),
    ([THE_NETWORK_POLICY_RESOURCE], INSIDE_BLOCK, DB, 6379, True),
    ([THE_NETWORK_POLICY_RESOURCE], EXCEPTED, DB, 6379, False),
    ([THE_NETWORK_POLICY_RESOURCE], DB, LEDGER, 5978, True),
    ([THE_NETWORK_POLICY_RESOURCE], DB, LEDGER, 443, False),
    ([THE_NETWORK_POLICY_RESOURCE], DB, WORLD, 5978, False),
    ([THE_NETWORK_POLICY_RESOURCE], DB, DB, 22, True),
    ([THE_NETWORK_POLICY_RESOURCE], STRANGER, OTHER, 22, True),
    ([EITHER], PROJECT, DB, 1, True),
    ([EITHER], FRONTEND, DB, 1, True),
    ([EITHER], STRANGER, DB, 1, False),
    ([BOTH], PROJECT, DB, 1, False),
    ([BOTH], FRONTEND, DB, 1, False),
    ([DENY_INGRESS], FRONTEND, DB, 6379, False),
    ([DENY_INGRESS], DB, WORLD, 443, True),
    ([DENY_INGRESS, ALLOW_INGRESS], STRANGER, DB, 6379, True),
    ([DENY_EGRESS], DB, WORLD, 443, False),
    ([DENY_EGRESS], STRANGER, DB, 6379, True),
    ([DENY_EGRESS], FRONTEND, DB, 6379, False),
    ([DENY_EGRESS, ALLOW_EGRESS], DB, WORLD, 443, True),
    ([DENY_ALL], FRONTEND, DB, 6379, False),
    ([DENY_ALL], DB, WORLD, 443, False),
    ([DENY_ALL, ALLOW_INGRESS], WORLD, DB, 443, True),
    ([RANGE], DB, LEDGER, 32000, True),
    ([RANGE], DB, LEDGER, 32768, True),
    ([RANGE], DB, LEDGER, 32769, False),
    ([SEVERAL_NAMESPACES], DB, STRANGER, 1, True),
    ([SEVERAL_NAMESPACES], DB, PROJECT, 1, False),
    ([NAMED_PORT], OTHER, DB, 6379, True),
    ([NAMED_PORT], OTHER, DB, 6380, False),
    ([EGRESS_WITHOUT_TYPES], DB, WORLD, 443, False),
    ([EGRESS_WITHOUT_TYPES], WORLD, DB, 443, False),
]


@pytest.mark.parametrize(("specs", "source", "destination", "port", "allowed"), CASES)
def test_an_example_means_what_the_documentation_says(
    specs: list[str], source: Endpoint, destination: Endpoint, port: int, allowed: bool
) -> None:
    assert network(*specs).allows(source, destination, port) is allowed


def test_a_rule_for_one_protocol_is_none_for_another() -> None:
    assert network(TCP_ALONE).allows(OTHER, DB, 53)
    assert not network(TCP_ALONE).allows(OTHER, DB, 53, "UDP")


def test_some_networks_look_for_blocks_outside_the_cluster_only() -> None:
    pod = Endpoint(ip="10.0.0.7", namespace="strangers")
    assert network(EGRESS_WITHOUT_TYPES).allows(DB, pod, 443)
    assert not network(EGRESS_WITHOUT_TYPES, blocks_match_pods=False).allows(DB, pod, 443)
    assert network(EGRESS_WITHOUT_TYPES, blocks_match_pods=False).allows(DB, LEDGER, 443)


@pytest.mark.parametrize(
    ("key", "operator", "values", "selected"),
    [
        ("role", "In", ["db"], True),
        ("role", "NotIn", ["db"], False),
        ("absent", "NotIn", ["db"], True),
        ("role", "Exists", None, True),
        ("absent", "Exists", None, False),
        ("absent", "DoesNotExist", None, True),
    ],
)
def test_expressions_select_pods(key: str, operator: str, values: Any, selected: bool) -> None:
    expression = {"key": key, "operator": operator} | ({"values": values} if values else {})
    deny = {"podSelector": {"matchExpressions": [expression]}, "policyTypes": ["Ingress"]}
    found = Network(policies=[{"metadata": {"namespace": "default"}, "spec": deny}])
    assert found.allows(OTHER, DB, 1) is not selected


def test_what_it_does_not_understand_it_does_not_pass_over() -> None:
    with pytest.raises(ValueError, match="not understood in a NetworkPolicy: fqdn"):
        network("{podSelector: {}, ingress: [{from: [{fqdn: s3.example}]}]}").allows(OTHER, DB, 1)
