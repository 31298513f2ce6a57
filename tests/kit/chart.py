"""What the chart makes, by who is who."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Manifest = dict[str, Any]
Objects = dict[tuple[str, str, str], Manifest]
"""By (kind, namespace or "", name)."""


def by_name(manifests: Iterable[Manifest]) -> Objects:
    """Raises AssertionError where two are the same object."""
    found: Objects = {}
    for manifest in manifests:
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        assert key not in found, f"{key} is there twice"
        found[key] = manifest
    return found


def pod_spec(manifests: Iterable[Manifest]) -> Manifest:
    """Of the one Deployment."""
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    spec: Manifest = deployment["spec"]["template"]["spec"]
    return spec


def container(manifests: Iterable[Manifest]) -> Manifest:
    """The one container of the one Deployment."""
    (found,) = pod_spec(manifests)["containers"]
    only: Manifest = found
    return only


def environment(manifests: Iterable[Manifest], fields: Mapping[str, str]) -> dict[str, str]:
    """Of the container; `fields` are the pod's, by path."""
    return {
        each["name"]: each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in container(manifests)["env"]
    }


def rules_of(manifests: Iterable[Manifest], kind: str, name: str) -> list[Manifest]:
    """Of the one role of that kind and name."""
    (role,) = (each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))
    rules: list[Manifest] = role["rules"]
    return rules
