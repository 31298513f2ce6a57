"""Whole manifests: what the chart makes of its default values, and what a value changes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from chart import Manifest, Objects, by_name, container
from finetune_api.crd import custom_resource_definition
from helm import CHART, Helm, Refused
from permissions import KUEUE_RULES

pytestmark = pytest.mark.tier("helm")

CRD = ("CustomResourceDefinition", "", "finetunejobs.finetune.dev")
ROLE = ("ClusterRole", "", "finetune-operator")
BINDING = ("ClusterRoleBinding", "", "finetune-operator")


def rendered(name: str) -> Objects:
    return by_name(yaml.safe_load((Path(__file__).parent / "rendered" / f"{name}.yaml").read_text()))


@pytest.fixture
def objects(default: list[Manifest]) -> Objects:
    return by_name(default)


def with_variable(objects: Objects, name: str, value: str) -> Objects:
    """The same, with another value of one variable of the operator's."""
    changed = copy.deepcopy(objects)
    (variable,) = (each for each in container(changed.values())["env"] if each["name"] == f"FINETUNE_OPERATOR_{name}")
    variable["value"] = value
    return changed


def test_helm_finds_nothing_to_complain_of(helm: Helm) -> None:
    said = helm.run("lint", "--strict", str(CHART))
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


@pytest.mark.parametrize("version", ["1.31.0-gke.100", "1.36.3"])
def test_a_cluster_that_is_new_enough_is_served(helm: Helm, version: str) -> None:
    assert helm.run("template", str(CHART), f"--kube-version={version}")


def test_a_cluster_that_is_too_old_is_refused_by_its_version(helm: Helm) -> None:
    with pytest.raises(Refused, match=r"requires kubeVersion: >=1\.31\.0-0.* v1\.30"):
        helm.run("template", str(CHART), "--kube-version=1.30.4")


def test_the_default_values_make_this(helm: Helm, objects: Objects) -> None:
    assert {key: each for key, each in objects.items() if key != CRD} == rendered("default")


def test_the_crd_is_the_generated_one_and_outlives_the_release(helm: Helm, objects: Objects) -> None:
    generated = custom_resource_definition()
    keep = {"annotations": {"helm.sh/resource-policy": "keep"}}
    assert objects[CRD] == {**generated, "metadata": {**generated["metadata"], **keep}}


def test_a_crd_that_is_not_to_be_kept_goes_with_the_release(helm: Helm, objects: Objects) -> None:
    assert by_name(helm.render({"crds": {"keep": False}})) == {**objects, CRD: custom_resource_definition()}


def test_without_the_crd_all_else_is_the_same(helm: Helm, objects: Objects) -> None:
    assert {**by_name(helm.render({"crds": {"enabled": False}})), CRD: objects[CRD]} == objects


def test_namespaces_bring_rights_in_each_and_none_elsewhere(helm: Helm, objects: Objects) -> None:
    expected = with_variable(objects, "NAMESPACES", "ml,research") | rendered("namespaced")
    del expected[ROLE], expected[BINDING]
    assert by_name(helm.render({"watch": {"namespaces": ["ml", "research"]}})) == expected


def test_a_second_release_beside_it_shares_no_object_with_the_first(helm: Helm, objects: Objects) -> None:
    second = {"crds": {"enabled": False}, "userRoles": {"create": False}, "watch": {"namespaces": ["ml"]}}
    beside = by_name(helm.render(second, release="second", namespace="elsewhere"))
    assert beside.keys() & objects.keys() == set()
    assert {namespace for _, namespace, _ in beside} == {"elsewhere", "ml"}


def test_kueue_brings_its_rights_and_tells_the_operator(helm: Helm, objects: Objects) -> None:
    expected = with_variable(objects, "KUEUE", "true")
    expected[ROLE]["rules"] += KUEUE_RULES
    assert by_name(helm.render({"kueue": {"enabled": True}})) == expected


def test_a_cluster_that_others_police_gets_no_policy(helm: Helm, objects: Objects) -> None:
    expected = with_variable(objects, "NETWORK_POLICY", "false")
    del expected["NetworkPolicy", "finetune-system", "finetune-operator"]
    assert by_name(helm.render({"networkPolicy": {"enabled": False}})) == expected
