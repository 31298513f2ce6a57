"""The NetworkPolicy of an attempt: who may connect to its pods, and what they may connect to.

Rendezvous, NCCL and gloo authenticate nobody, so only the attempt's own pods reach each other. A policy cannot name
hosts: a store outside the cluster is its port, anywhere but where clouds hand out a node's credentials. What a policy
does with the address of a Service is undefined, and most networks look at pods; so a store in the cluster is the pods
of its namespace, by any port (kubernetes.io/docs/concepts/services-networking/network-policies).
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Any
from urllib.parse import urlsplit

from finetune_api.contract import PORT_PROGRESS
from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt
from finetune_operator.apply import Manifest
from finetune_operator.render.hub import reads_hub
from finetune_operator.render.names import metadata, pod_selector
from finetune_operator.render.tracking import tracker_url
from finetune_operator.settings import Destination, Settings

_PORTS = {"http": 80, "https": 443}
_CREDENTIALS_IPV4 = (
    "169.254.0.0/16",  # instance metadata of AWS, Azure, Google, Oracle and OpenStack
    "100.100.100.200/32",  # of Alibaba
    "168.63.129.16/32",  # Azure's host agent
)
_CREDENTIALS_IPV6 = (
    "fe80::/10",
    "fd00:ec2::/32",  # AWS
    "fd20:ce::254/128",  # Google
)
_ANYWHERE = [
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_CREDENTIALS_IPV4)}},
    {"ipBlock": {"cidr": "::/0", "except": list(_CREDENTIALS_IPV6)}},
]
_POD_IDENTITY = (
    # EKS Pod Identity's agent answers only a pod that has a token and an association of its own
    # (docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html). Web identity needs no more than HTTPS.
    Destination("169.254.170.23/32", 80),
    Destination("fd00:ec2::23/128", 80),
)


def network_policy(job: FineTuneJob, attempt: Attempt, settings: Settings) -> Manifest:
    peers = [{"podSelector": {"matchLabels": pod_selector(attempt)}}]
    operator = {
        "namespaceSelector": {"matchLabels": _name_of(settings.own_namespace)},
        "podSelector": {"matchLabels": dict(settings.own_labels)},
    }
    scrapers = [{"namespaceSelector": {"matchLabels": _name_of(name)}} for name in settings.metrics_namespaces]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(job, attempt),
        "spec": {
            "podSelector": {"matchLabels": pod_selector(attempt)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers}, {"from": [operator, *scrapers], "ports": [_tcp(PORT_PROGRESS)]}],
            "egress": [
                {"to": peers},
                # To anywhere: caches of names run on the node, under a link-local address.
                {"ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]},
                *_destinations(job, attempt, settings),
                *(_to(each) for each in settings.egress),
            ],
        },
    }


def _destinations(job: FineTuneJob, attempt: Attempt, settings: Settings) -> list[dict[str, Any]]:
    """Where the store is, where keys for it come from when the job names none, the Hub if a source lies there, and
    the tracker."""
    storage = job.spec.storage
    keyless = storage.secret_name is None
    hub = reads_hub(job.spec, attempt)
    # The Hub's own addresses lead to others, where its large files are.
    ports = {443} if keyless or hub or storage.endpoint is None else set()
    rules = [_to(each) for each in _POD_IDENTITY] if keyless else []
    for endpoint in (storage.endpoint, settings.hub_endpoint if hub else None, tracker_url(job.spec.tracking, attempt)):
        if endpoint is None:
            continue
        url = urlsplit(endpoint)
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
        address = _address(host)
        if address is None and (served_in := _namespace_of(host, job.metadata.namespace)) is not None:
            rules.append({"to": [{"namespaceSelector": {"matchLabels": _name_of(served_in)}}]})
        elif address is None:
            ports.add(port)
        elif not address.is_link_local:
            rules.append(_to(Destination(f"{address}/32", port)))
    if ports:
        rules.append({"to": _ANYWHERE, "ports": [_tcp(port) for port in sorted(ports)]})
    return rules


def _address(host: str) -> IPv4Address | None:
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def _namespace_of(host: str, own: str) -> str | None:
    """Of the Service with this name; None for a host outside the cluster."""
    match host.removesuffix(".cluster.local").split("."):
        case [_]:
            return own
        case [*_, _, namespace, "svc"]:
            return namespace
    return None


def _name_of(namespace: str) -> dict[str, str]:
    """The label that every namespace bears by itself."""
    return {"kubernetes.io/metadata.name": namespace}


def _to(destination: Destination) -> dict[str, Any]:
    return {"to": [{"ipBlock": {"cidr": destination.cidr}}], "ports": [_tcp(destination.port)]}


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}
