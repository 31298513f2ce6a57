"""CoreDNS for the cluster: its configuration, and what it may read."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

from node.addresses import HOST

USER = "coredns"
READY_PORT = 8181


def configuration(kubeconfig: Path) -> str:
    """A Corefile: names of the cluster, and no other name exists, which is an answer and no failure."""
    return f""".:53 {{
    bind {HOST}
    errors
    ready {HOST}:{READY_PORT}
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def answers() -> bool:
    """It knows the Services that there are."""
    connection = http.client.HTTPConnection(HOST, READY_PORT, timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def rights() -> tuple[dict[str, Any], ...]:
    """Manifests that let it read Services and what is behind them."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }
    return role, binding
