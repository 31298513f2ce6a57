"""The nodes of a cluster that take pods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from real.access import Access


def schedulable(access: Access) -> list[str]:
    """By name."""
    nodes = access.client.request("GET", "/api/v1/nodes")["items"]
    return sorted(
        node["metadata"]["labels"]["kubernetes.io/hostname"] for node in nodes if not node["spec"].get("taints")
    )


def first_node(access: Access) -> str:
    """Where everything lies that jobs need, so that any other can be lost."""
    return schedulable(access)[0]


@contextmanager
def cordoned(access: Access, node: str) -> Iterator[None]:
    """No new pod goes there meanwhile."""
    access.kubectl("cordon", node)
    try:
        yield
    finally:
        access.kubectl("uncordon", node)
