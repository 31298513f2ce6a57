"""Every value has an effect, is known to the schema, and is refused by its name when it is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from chart import Manifest, by_name
from helm import CHART, Helm, Refused

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

OTHERS: Mapping[str, Any] = {
    "crds.enabled": False,
    "crds.keep": False,
    "image.repository": "registry.example:5000/team/operator",
    "image.tag": "1.2.3",
    "image.digest": "sha256:" + "a" * 64,
    "image.pullPolicy": "Always",
    "trainerImage.repository": "registry.example/trainer",
    "trainerImage.tag": "1.2.3",
    "trainerImage.digest": "sha256:" + "b" * 64,
    "imagePullSecrets": [{"name": "registry"}],
    "watch.namespaces": ["ml"],
    "kueue.enabled": True,
    "networkPolicy.enabled": False,
    "networkPolicy.egress": ["169.254.169.254/32:80", "fd00::/8:443"],
    "networkPolicy.metricsNamespaces": ["monitoring"],
    "settings.workers": 20,
    "settings.resyncSeconds": 60,
    "settings.progressSeconds": 0.5,
    "settings.gpuResource": "amd.com/gpu",
    "settings.shm": "16Gi",
    "settings.hubEndpoint": "https://hub.example",
    "settings.graceSeconds": 300,
    "settings.prepare.cpu": 4,
    "settings.prepare.memory": "1.5Gi",
    "settings.prepare.scratch": "1Ti",
    "settings.train.cpu": "1500m",
    "settings.train.memory": "64Gi",
    "settings.train.scratch": "500Gi",
    "userRoles.create": False,
    "resources": {"limits": {"memory": "1Gi"}},
    "podAnnotations": {"prometheus.io/scrape": "true"},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}
"""For each value another than the default."""
WRONG: Mapping[str, tuple[Any, str]] = {
    "crds.enabled": ("yes", "'/crds/enabled': got string, want boolean"),
    "crds.kept": (True, "'/crds': additional properties 'kept' not allowed"),
    "image.repository": ("localhost/finetune-operator:test", "'/image/repository'"),
    "image.tag": ("not a tag", "'/image/tag'"),
    "image.digest": ("sha256:abc", "'/image/digest'"),
    "image.pullPolicy": ("Sometimes", "'/image/pullPolicy': value must be one of"),
    "trainerImage.digest": ("latest", "'/trainerImage/digest'"),
    "imagePullSecrets": (["registry"], "'/imagePullSecrets/0': got string, want object"),
    "watch.namespaces": (["ml", "team-*"], "'/watch/namespaces/1'"),
    "kueue.enable": (True, "'/kueue': additional properties 'enable' not allowed"),
    "networkPolicy.egress": (["169.254.169.254"], "'/networkPolicy/egress/0'"),
    "networkPolicy.metricsNamespaces": (["Monitoring"], "'/networkPolicy/metricsNamespaces/0'"),
    "settings.workers": ("many", "'/settings/workers': got string, want integer"),
    "settings.resyncSeconds": (0, "'/settings/resyncSeconds': minimum: got 0, want 1"),
    "settings.gpuResource": ("gpu", "'/settings/gpuResource'"),
    "settings.shm": ("8GB", "'/settings/shm'"),
    "settings.hubEndpoint": ("hub.example", "'/settings/hubEndpoint'"),
    "settings.graceSeconds": (None, "'/settings': missing property 'graceSeconds'"),
    "settings.train.cpu": (True, "'/settings/train/cpu': got boolean"),
    "settings.train.gpu": (8, "'/settings/train': additional properties 'gpu' not allowed"),
    "podAnnotations": (
        {"prometheus.io/scrape": True},
        "'/podAnnotations/prometheus.io~1scrape': got boolean, want string",
    ),
    "operator.image": ("mine", "'': additional properties 'operator' not allowed"),
}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of each value that is not a group of others."""
    for name, value in values.items():
        if isinstance(value, dict) and value and f"{prefix}{name}" != "resources":
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def known(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted path of each value that the schema knows."""
    for name, each in schema["properties"].items():
        inner = SCHEMA["definitions"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        if "properties" in inner and name != "resources":
            yield from known(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_schema_and_defaults_know_the_same_values() -> None:
    assert sorted(known(SCHEMA)) == sorted([*dict(leaves(VALUES)), "global"])


def test_no_default_is_without_another_value_to_try() -> None:
    assert OTHERS.keys() == dict(leaves(VALUES)).keys()


@pytest.mark.tier("helm")
@pytest.mark.parametrize("path", OTHERS)
def test_each_value_changes_what_is_installed(helm: Helm, default: list[Manifest], path: str) -> None:
    assert by_name(helm.render(nested(path, OTHERS[path]))) != by_name(default)


@pytest.mark.tier("helm")
@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, path: str) -> None:
    value, complaint = WRONG[path]
    with pytest.raises(Refused) as refused:
        helm.render(nested(path, value))
    assert complaint in str(refused.value)


@pytest.mark.tier("helm")
def test_the_values_of_a_parent_chart_are_let_pass(helm: Helm, default: list[Manifest]) -> None:
    assert helm.render({"global": {"imageRegistry": "registry.example"}}) == default
