"""What the operator may do, and a service account that may do this and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster import ApiServer

_GROUP = "rbac.authorization.k8s.io"
_NAME = "finetune-operator"
_SEEN = ["get", "list", "watch"]

RULES: list[dict[str, Any]] = [
    {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": _SEEN},
    {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs/status"], "verbs": ["patch"]},
    {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs/finalizers"], "verbs": ["update"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": [*_SEEN, "create", "delete"]},
    {"apiGroups": [""], "resources": ["services", "configmaps"], "verbs": [*_SEEN, "create", "delete"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": [*_SEEN, "create", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": [*_SEEN, "delete"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
"""Where it works on FineTuneJobs: in every namespace, or in those that it watches."""
KUEUE_RULES: list[dict[str, Any]] = [
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": _SEEN},
]
"""There too, where Kueue is installed."""
LEASE_RULES: list[dict[str, Any]] = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [_NAME],
        "verbs": ["get", "update"],
    },
]
"""Where its own pod runs."""


def grant(api_server: ApiServer, account_namespace: str, rules: Sequence[Any], *, namespace: str | None) -> None:
    """Let the service account `finetune-operator` of its namespace do this in a namespace, or in every one (None).

    A second grant for the same place takes the place of the first.
    """
    where = {} if namespace is None else {"namespace": namespace}
    scope = "ClusterRole" if namespace is None else "Role"
    metadata = {"name": f"{_NAME}-{account_namespace}", **where}
    binding = {
        "apiVersion": f"{_GROUP}/v1",
        "kind": f"{scope}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _GROUP, "kind": scope, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": account_namespace}],
    }
    account_metadata = {"name": _NAME, "namespace": account_namespace}
    api_server.apply(
        {"apiVersion": f"{_GROUP}/v1", "kind": scope, "metadata": metadata, "rules": list(rules)},
        binding,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account_metadata},
    )


def kubeconfig(api_server: ApiServer, account_namespace: str) -> Path:
    """Of that account."""
    made = api_server.kubectl("create", "token", _NAME, f"--namespace={account_namespace}")
    made.check_returncode()
    config = json.loads(api_server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": made.stdout.strip()}
    path = api_server.folder / f"{account_namespace}.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def num_forbidden(api_server: ApiServer) -> int:
    """How many requests this server's authorizers have not allowed since it started, whoever asked.

    Answers of 403 would count admission too, which refuses controllers' writes into namespaces that are going.
    """
    metrics = api_server.kubectl("get", "--raw=/metrics")
    metrics.check_returncode()
    refused = [
        line
        for line in metrics.stdout.splitlines()
        if line.startswith("authorization_attempts_total{") and 'result="allowed"' not in line
    ]
    return sum(int(line.rpartition(" ")[2]) for line in refused)
