"""The operator's pod: what it may, what it is told, and that the operator understands all of it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib.metadata import version

import pytest
import yaml

from chart import Manifest, container, environment, pod_spec
from finetune_operator.settings import PREFIX, Destination, PodDefaults, Settings
from helm import CHART, NAMESPACE, Helm
from pod_security import violations

POD = {"metadata.namespace": NAMESPACE, "metadata.name": "finetune-operator-5585bf9456-6mb7r"}
LEFT_OUT = {
    "serve_host": "a pod has an address of its own",
    "serve_port": "the ports of a pod are its own",
    "progress_url": "for trainers that are no pods",
    "local_files": "for one machine without a cluster",
}
"""Settings that no value sets, and why."""


def variables_of(setting: str, default: object) -> set[str]:
    inner = [f"_{each.name}" for each in fields(default)] if is_dataclass(default) else [""]
    return {f"{PREFIX}{setting}{name}".upper() for name in inner}


def test_the_chart_installs_the_version_that_it_lies_beside() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {version("finetune-operator")} == {version("finetune-trainer")}


@pytest.mark.tier("helm")
def test_it_fits_into_a_namespace_that_enforces_restricted_pod_security(helm: Helm, default: list[Manifest]) -> None:
    assert violations(pod_spec(default)) == []


@pytest.mark.tier("helm")
def test_it_sets_every_setting_that_makes_sense_in_a_cluster_and_no_other(helm: Helm, default: list[Manifest]) -> None:
    settings = Settings(trainer_image="trainer")
    known = {each.name: variables_of(each.name, getattr(settings, each.name)) for each in fields(Settings)}
    expected = set().union(*(names for setting, names in known.items() if setting not in LEFT_OUT))
    assert set(environment(default, POD)) == expected
    assert LEFT_OUT.keys() <= known.keys()


@pytest.mark.tier("helm")
def test_the_default_values_are_the_operators_own_defaults(helm: Helm, default: list[Manifest]) -> None:
    assert Settings.from_env(environment(default, POD)) == Settings(
        trainer_image="localhost/finetune-trainer:0.1.0",
        own_namespace=NAMESPACE,
        own_labels={"app.kubernetes.io/name": "finetune-operator", "app.kubernetes.io/instance": "finetune-operator"},
        identity=POD["metadata.name"],
    )


@pytest.mark.tier("helm")
def test_every_value_arrives_at_the_operator(helm: Helm) -> None:
    values = {
        "trainerImage": {"repository": "registry.example:5000/trainer", "digest": "sha256:" + "b" * 64},
        "watch": {"namespaces": ["ml", "research"]},
        "kueue": {"enabled": True},
        "networkPolicy": {
            "enabled": False,
            "egress": ["169.254.169.254/32:80", "10.0.0.0/8:5353"],
            "metricsNamespaces": ["monitoring"],
        },
        "settings": {
            "workers": 20,
            "resyncSeconds": 86400,
            "progressSeconds": 0.5,
            "gpuResource": "amd.com/gpu",
            "shm": "16Gi",
            "hubEndpoint": "https://hub.example",
            "graceSeconds": 86400,
            "prepare": {"cpu": 4, "memory": "1.5Gi", "scratch": "1Ti"},
            "train": {"cpu": "1500m", "memory": "64Gi", "scratch": "500Gi"},
        },
    }
    read = Settings.from_env(environment(helm.render(values, release="tuning"), POD))
    assert read == Settings(
        trainer_image="registry.example:5000/trainer@sha256:" + "b" * 64,
        namespaces=("ml", "research"),
        own_namespace=NAMESPACE,
        own_labels={"app.kubernetes.io/name": "finetune-operator", "app.kubernetes.io/instance": "tuning"},
        identity=POD["metadata.name"],
        workers=20,
        resync_seconds=86400.0,
        progress_seconds=0.5,
        gpu_resource="amd.com/gpu",
        prepare=PodDefaults(cpu="4", memory="1.5Gi", scratch="1Ti"),
        train=PodDefaults(cpu="1500m", memory="64Gi", scratch="500Gi"),
        shm="16Gi",
        grace_seconds=86400,
        kueue=True,
        network_policy=False,
        egress=(Destination("169.254.169.254/32", 80), Destination("10.0.0.0/8", 5353)),
        metrics_namespaces=("monitoring",),
        hub_endpoint="https://hub.example",
    )


@pytest.mark.tier("helm")
def test_the_administrator_decides_where_it_runs_and_what_it_is_pulled_with(
    helm: Helm, default: list[Manifest]
) -> None:
    placed = {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "priorityClassName": "system-cluster-critical",
    }
    image = {"repository": "registry.example/operator", "tag": "ignored", "digest": "sha256:" + "a" * 64}
    resources = {"requests": {"cpu": 1, "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    manifests = helm.render({"image": {**image, "pullPolicy": "Always"}, "resources": resources, **placed})
    changed = {
        "image": "registry.example/operator@sha256:" + "a" * 64,
        "imagePullPolicy": "Always",
        "resources": resources,
    }
    assert pod_spec(manifests) == {
        **pod_spec(default),
        **placed,
        "containers": [{**container(default), **changed}],
    }
