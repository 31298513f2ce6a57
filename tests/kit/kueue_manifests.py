"""What Kueue installs into a cluster, fitted to a controller that is a process of this machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from binaries import KUEUE
from cluster_client import Manifest

_MODULE = "sigs.k8s.io/kueue"
GROUP = "kueue.x-k8s.io"
DEFINITION = "CustomResourceDefinition"
# Kueue's own objects and the Jobs that it queues. Nobody answers at the webhooks of what is not integrated.
_SERVED_GROUPS = frozenset({GROUP, "batch"})


def module_manifests(kubectl: Path) -> list[Manifest]:
    """Everything that `kubectl apply --server-side -k config/default` of the built version would create."""
    found = subprocess.run(
        ["go", "mod", "download", "-json", _MODULE], cwd=KUEUE.folder, check=True, capture_output=True, text=True
    )
    folder = Path(json.loads(found.stdout)["Dir"]) / "config" / "default"
    kustomized = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return list(yaml.load_all(kustomized, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def installed(manifests: Iterable[Manifest], webhook_url: str, authority: str) -> Iterator[Manifest]:
    """CRDs and webhook configurations, calling `webhook_url`, whose certificate `authority` (base64) signed.

    Left out: what a controller in a pod needs (RBAC, Deployment, Services), and the APIService, which would be
    unreachable and so block discovery and the deletion of namespaces.
    """
    for manifest in manifests:
        if manifest["kind"] == DEFINITION:
            yield _without_conversion(manifest)
        elif "webhooks" in manifest:
            webhooks = [_called(hook, webhook_url, authority) for hook in manifest["webhooks"] if _is_served(hook)]
            yield manifest | {"webhooks": webhooks}


def _without_conversion(crd: Manifest) -> Manifest:
    """The stored version is the one that is used, so that nothing ever needs converting."""
    return crd | {"spec": {key: value for key, value in crd["spec"].items() if key != "conversion"}}


def _is_served(hook: dict[str, Any]) -> bool:
    return {group for rule in hook["rules"] for group in rule["apiGroups"]} <= _SERVED_GROUPS


def _called(hook: dict[str, Any], url: str, authority: str) -> dict[str, Any]:
    return hook | {"clientConfig": {"url": url + hook["clientConfig"]["service"]["path"], "caBundle": authority}}
