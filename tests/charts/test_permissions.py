"""The chart grants what the operator was shown to live a whole life with, to the letter, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from chart import rules_of
from helm import Helm
from permissions import KUEUE_RULES, LEASE_RULES, RULES

pytestmark = pytest.mark.tier("helm")

VALUES: Mapping[str, dict[str, Any]] = {
    "default": {},
    "kueue": {"kueue": {"enabled": True}},
    "namespaced": {"watch": {"namespaces": ["ml"]}},
    "namespaced, kueue": {"watch": {"namespaces": ["ml"]}, "kueue": {"enabled": True}},
}
SEEN = frozenset({"get", "list", "watch"})
MADE = SEEN | {"create", "delete"}
THE_OPERATORS = ("finetune-operator", "finetune-operator-lease")


def granted(manifests: list[dict[str, Any]]) -> dict[str, frozenset[str]]:
    """Verbs by `resource.group`, of all roles that the operator is bound to."""
    found: dict[str, frozenset[str]] = {}
    for role in manifests:
        if role["kind"] not in ("Role", "ClusterRole") or role["metadata"]["name"] not in THE_OPERATORS:
            continue
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    name = f"{resource}.{group}".rstrip(".")
                    found[name] = found.get(name, frozenset()) | frozenset(rule["verbs"])
    return found


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_operator_may_do_this_and_nothing_else(helm: Helm, values: dict[str, Any]) -> None:
    kueue = {"workloads.kueue.x-k8s.io": SEEN} if "kueue" in values else {}
    assert granted(helm.render(values)) == {
        "finetunejobs.finetune.dev": SEEN,
        "finetunejobs/status.finetune.dev": {"patch"},
        "finetunejobs/finalizers.finetune.dev": {"update"},
        "jobs.batch": MADE,
        "services": MADE,
        "configmaps": MADE,
        "networkpolicies.networking.k8s.io": MADE,
        "pods": SEEN | {"delete"},
        "events.events.k8s.io": {"create"},
        "leases.coordination.k8s.io": {"get", "create", "update"},
        **kueue,
    }


def test_these_are_the_rules_under_which_a_whole_life_was_lived(helm: Helm) -> None:
    everywhere, there = helm.render({"kueue": {"enabled": True}}), helm.render(VALUES["namespaced"])
    assert rules_of(everywhere, "ClusterRole", "finetune-operator") == [*RULES, *KUEUE_RULES]
    assert rules_of(there, "Role", "finetune-operator") == RULES
    for manifests in (everywhere, there):
        assert rules_of(manifests, "Role", "finetune-operator-lease") == LEASE_RULES


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_nobody_else_is_bound_and_the_operator_to_nothing_else(helm: Helm, values: dict[str, Any]) -> None:
    manifests = helm.render(values)
    account = {"kind": "ServiceAccount", "name": "finetune-operator", "namespace": "finetune-system"}
    bindings = [each for each in manifests if each["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    assert {each["roleRef"]["name"] for each in bindings} == set(THE_OPERATORS)
    assert [each["subjects"] for each in bindings] == [[account]] * len(bindings)
