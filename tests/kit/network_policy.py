"""What NetworkPolicies mean, written down from the API's documentation alone: which connections a network allows.

Sources: kubernetes.io/docs/concepts/services-networking/network-policies and the field comments in
k8s.io/api/networking/v1/types.go (v0.36). Two things are left out, which every network allows: what comes from the
pod's own node, and answers on a connection that was allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

Rule = Mapping[str, Any]
Direction = Literal["Ingress", "Egress"]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One end of a connection: a pod, or without a namespace an address outside the cluster."""

    ip: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """The pod's named ports."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A cluster's network that enforces these policies."""

    policies: Sequence[Mapping[str, Any]]
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Beyond `kubernetes.io/metadata.name`, which every namespace has."""
    blocks_match_pods: bool = True
    """Networks differ: most compare every address with an ipBlock, some (Cilium) only addresses outside the cluster."""

    def allows(self, source: Endpoint, destination: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Whether the connection is made: both ends must allow it, and no pod can be kept from itself."""
        if source == destination:
            return True
        out = self._rules("Egress", source)
        into = self._rules("Ingress", destination)
        return (out is None or self._any(out, "to", destination, destination, port, protocol)) and (
            into is None or self._any(into, "from", source, destination, port, protocol)
        )

    def _rules(self, direction: Direction, pod: Endpoint) -> list[tuple[str, Rule]] | None:
        """Each rule with its policy's namespace, of all policies that isolate the pod; None: it is not isolated."""
        isolating = [
            policy
            for policy in self.policies
            if policy["metadata"]["namespace"] == pod.namespace
            and _selects(policy["spec"].get("podSelector", {}), pod.labels)
            and direction in _types(policy["spec"])
        ]
        if not isolating:
            return None
        return [
            (policy["metadata"]["namespace"], rule)
            for policy in isolating
            for rule in policy["spec"].get(direction.lower(), ())
        ]

    def _any(
        self, rules: Iterable[tuple[str, Rule]], key: str, peer: Endpoint, target: Endpoint, port: int, protocol: str
    ) -> bool:
        for namespace, rule in rules:
            _only(rule, key, "ports")
            peers, ports = rule.get(key), rule.get("ports")
            if (not peers or any(self._is_peer(each, peer, namespace) for each in peers)) and (
                not ports or any(_is_port(each, target, port, protocol) for each in ports)
            ):
                return True
        return False

    def _is_peer(self, rule: Rule, peer: Endpoint, policy_namespace: str) -> bool:
        _only(rule, "ipBlock", "podSelector", "namespaceSelector")
        if "ipBlock" in rule:
            _only(rule, "ipBlock")
            return (peer.namespace is None or self.blocks_match_pods) and _is_in(rule["ipBlock"], peer.ip)
        if peer.namespace is None:
            return False
        if "namespaceSelector" in rule:
            labels = {
                "kubernetes.io/metadata.name": peer.namespace,
                **self.namespace_labels.get(peer.namespace, {}),
            }
            if not _selects(rule["namespaceSelector"], labels):
                return False
        elif peer.namespace != policy_namespace:
            return False
        return _selects(rule.get("podSelector", {}), peer.labels)


def _types(spec: Mapping[str, Any]) -> Sequence[str]:
    """Absent: Ingress always, Egress when there is a rule of it."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _is_port(rule: Rule, target: Endpoint, port: int, protocol: str) -> bool:
    _only(rule, "protocol", "port", "endPort")
    if rule.get("protocol", "TCP") != protocol:
        return False
    wanted = rule.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return target.ports.get(wanted) == port
    return bool(wanted <= port <= rule.get("endPort", wanted))


def _is_in(block: Rule, ip: str) -> bool:
    _only(block, "cidr", "except")
    address = ip_address(ip)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(each) for each in block.get("except", ())
    )


def _selects(selector: Rule, labels: Mapping[str, str]) -> bool:
    """Empty: everything."""
    _only(selector, "matchLabels", "matchExpressions")
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _holds(each, labels) for each in selector.get("matchExpressions", ())
    )


def _holds(expression: Rule, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"no operator of label selectors: {expression['operator']}")


def _only(found: Rule, *known: str) -> None:
    """A field that is not understood here must not be passed over."""
    if unknown := found.keys() - set(known):
        raise ValueError(f"not understood in a NetworkPolicy: {', '.join(sorted(unknown))}")
