"""A whole job on a cluster shows its keys to nobody, and has none of the cluster's."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest

from finetune_api.contract import Stage
from real.release import Release
from real.store import SECRET, Store
from real.story import Finished

pytestmark = pytest.mark.tier("node")

KINDS = "finetunejobs,jobs,pods,configmaps,services,networkpolicies,events"


@pytest.fixture(scope="module")
def forms(store: Store) -> list[str]:
    """The store's key as itself and as a Secret holds it: 128 random bits that stand nowhere by chance."""
    return [store.secret_access_key, base64.b64encode(store.secret_access_key.encode()).decode()]


def test_the_key_stands_in_its_secret_and_in_no_other_object(uninterrupted: Finished, forms: list[str]) -> None:
    job = uninterrupted.job
    objects = job.kubectl("get", KINDS, "--output=yaml")

    assert f"name: {SECRET}" in objects
    assert [form for form in forms if form in objects] == []
    assert forms[1] in job.kubectl("get", "secret", SECRET, "--output=yaml")


def test_the_key_stands_in_no_log(pod_logs: Sequence[str], operator_release: Release, forms: list[str]) -> None:
    logs = [*pod_logs, operator_release.kubectl("logs", "deployment/finetune-operator")]

    assert all(logs)
    assert [form for form in forms for log in logs if form in log] == []


def test_the_key_stands_in_nothing_that_the_job_has_stored(
    uninterrupted: Finished, store: Store, forms: list[str]
) -> None:
    with store.opened() as storage:
        stored = {each.uri: storage.read(each.uri)[0] for each in storage.list(uninterrupted.job.spec["output"]["uri"])}

    assert len(stored) > 5
    assert [uri for uri, content in stored.items() if any(form.encode() in content for form in forms)] == []


@pytest.mark.parametrize("stage", Stage)
def test_pods_have_no_token_of_the_cluster(stage: Stage, uninterrupted: Finished) -> None:
    for pod in uninterrupted.pods[stage]:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert [volume for volume in pod["spec"]["volumes"] if {"projected", "secret"} & volume.keys()] == []
