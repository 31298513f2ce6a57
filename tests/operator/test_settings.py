"""The environment becomes frozen settings, or an error that names the variable."""

from __future__ import annotations

import dataclasses

import pytest

from finetune_operator.settings import Destination, PodDefaults, Settings

IMAGE = {"FINETUNE_OPERATOR_TRAINER_IMAGE": "example.org/trainer@sha256:0"}


def test_only_the_image_must_be_given() -> None:
    assert Settings.from_env(IMAGE) == Settings(trainer_image="example.org/trainer@sha256:0")


def test_a_missing_image_is_named() -> None:
    with pytest.raises(ValueError, match="FINETUNE_OPERATOR_TRAINER_IMAGE is not set"):
        Settings.from_env({})


def test_every_field_can_be_set() -> None:
    environ = {
        "FINETUNE_OPERATOR_TRAINER_IMAGE": "trainer:1",
        "FINETUNE_OPERATOR_NAMESPACES": "ml, research,ml,",
        "FINETUNE_OPERATOR_OWN_NAMESPACE": "operators",
        "FINETUNE_OPERATOR_OWN_LABELS": "app.kubernetes.io/name=finetune, release=a",
        "FINETUNE_OPERATOR_IDENTITY": "operator-0",
        "FINETUNE_OPERATOR_SERVE_PORT": "9090",
        "FINETUNE_OPERATOR_SERVE_HOST": "127.0.0.1",
        "FINETUNE_OPERATOR_WORKERS": "3",
        "FINETUNE_OPERATOR_RESYNC_SECONDS": "30",
        "FINETUNE_OPERATOR_PROGRESS_URL": "http://gateway:8080/{ip}/{port}",
        "FINETUNE_OPERATOR_PROGRESS_SECONDS": "2.5",
        "FINETUNE_OPERATOR_GPU_RESOURCE": "amd.com/gpu",
        "FINETUNE_OPERATOR_PREPARE_CPU": "500m",
        "FINETUNE_OPERATOR_PREPARE_MEMORY": "1Gi",
        "FINETUNE_OPERATOR_PREPARE_SCRATCH": "2Gi",
        "FINETUNE_OPERATOR_TRAIN_CPU": "8",
        "FINETUNE_OPERATOR_TRAIN_MEMORY": "64Gi",
        "FINETUNE_OPERATOR_TRAIN_SCRATCH": "1.5Ti",
        "FINETUNE_OPERATOR_SHM": "1Gi",
        "FINETUNE_OPERATOR_GRACE_SECONDS": "60",
        "FINETUNE_OPERATOR_KUEUE": "true",
        "FINETUNE_OPERATOR_NETWORK_POLICY": "false",
        "FINETUNE_OPERATOR_EGRESS": "169.254.169.254/32:80, fd00:ec2::254/128:80",
        "FINETUNE_OPERATOR_METRICS_NAMESPACES": "monitoring, ops",
        "FINETUNE_OPERATOR_HUB_ENDPOINT": "https://hub.example/mirror/",
    }
    expected = Settings(
        trainer_image="trainer:1",
        namespaces=("ml", "research"),
        own_namespace="operators",
        own_labels={"app.kubernetes.io/name": "finetune", "release": "a"},
        identity="operator-0",
        serve_port=9090,
        serve_host="127.0.0.1",
        workers=3,
        resync_seconds=30.0,
        progress_url="http://gateway:8080/{ip}/{port}",
        progress_seconds=2.5,
        gpu_resource="amd.com/gpu",
        prepare=PodDefaults(cpu="500m", memory="1Gi", scratch="2Gi"),
        train=PodDefaults(cpu="8", memory="64Gi", scratch="1.5Ti"),
        shm="1Gi",
        grace_seconds=60,
        kueue=True,
        network_policy=False,
        egress=(Destination("169.254.169.254/32", 80), Destination("fd00:ec2::254/128", 80)),
        metrics_namespaces=("monitoring", "ops"),
        hub_endpoint="https://hub.example/mirror",
    )
    assert Settings.from_env(environ) == expected
    untouched = [
        field.name
        for field in dataclasses.fields(Settings)
        if getattr(expected, field.name) == getattr(Settings(trainer_image="other"), field.name)
    ]
    # One machine without a cluster is the command line's case, and no variable makes a cluster into one.
    assert untouched == ["local_files"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRAINER_IMAGE", ""),
        ("TRAINER_IMAGE", "two words"),
        ("NAMESPACES", "ml,Research"),
        ("OWN_NAMESPACE", "ml,research"),
        ("IDENTITY", ""),
        ("SERVE_PORT", "0"),
        ("SERVE_PORT", "65536"),
        ("SERVE_PORT", "http"),
        ("WORKERS", "0"),
        ("WORKERS", "2.5"),
        ("RESYNC_SECONDS", "0"),
        ("RESYNC_SECONDS", "inf"),
        ("RESYNC_SECONDS", "nan"),
        ("RESYNC_SECONDS", "ten"),
        ("PROGRESS_URL", "http://{host}/progress"),
        ("PROGRESS_URL", "http://{}/progress"),
        ("PROGRESS_URL", "http://{ip/progress"),
        ("PROGRESS_URL", "ftp://{ip}"),
        ("PROGRESS_SECONDS", "-1"),
        ("GPU_RESOURCE", "gpu"),
        ("PREPARE_CPU", "two"),
        ("TRAIN_MEMORY", "16 GB"),
        ("SHM", ""),
        ("GRACE_SECONDS", "-5"),
        ("OWN_LABELS", ""),
        ("OWN_LABELS", "app"),
        ("OWN_LABELS", "app=a,"),
        ("OWN_LABELS", "-app=a"),
        ("NETWORK_POLICY", "yes"),
        ("EGRESS", "169.254.169.254/32"),
        ("EGRESS", "169.254.169.1/16:80"),
        ("EGRESS", "metadata.internal:80"),
        ("EGRESS", "10.0.0.0/8:0"),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_and_value(variable: str, value: str) -> None:
    name = f"FINETUNE_OPERATOR_{variable}"
    with pytest.raises(ValueError, match=rf"^{name} is '.*', but must be \S") as refused:
        Settings.from_env({**IMAGE, name: value})
    assert repr(value) in str(refused.value)


def test_what_a_service_of_our_name_puts_into_the_environment_is_passed_over() -> None:
    links = {"FINETUNE_OPERATOR_PORT": "tcp://10.0.0.1:8080", "FINETUNE_OPERATOR_SERVICE_HOST": "10.0.0.1"}
    assert Settings.from_env({**IMAGE, **links}) == Settings.from_env(IMAGE)
