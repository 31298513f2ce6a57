"""The operator as Helm installs it: one for the cluster, with the chart's rights, and gone without its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from cluster_client import EVENTS, FINETUNE_JOBS, eventually
from finetune_api.status import Status
from jobs import make_body, merge
from real.access import Access, Refused
from real.release import Release
from real.story import Finished

pytestmark = pytest.mark.tier("node")


@pytest.fixture
def second(cluster: Access, operator_release: Release, new_namespace: Callable[[], str]) -> Iterator[Release]:
    """Not installed yet; another release of the chart, in a namespace of its own."""
    release = Release(cluster, operator_release.node, {}, new_namespace())
    yield release
    cluster.helm("uninstall", "finetune-operator", "--ignore-not-found", f"--namespace={release.namespace}")


def beside(release: Release, *namespaces: str) -> Release:
    """The same, without what is the whole cluster's."""
    values = {"crds": {"enabled": False}, "userRoles": {"create": False}, "watch": {"namespaces": list(namespaces)}}
    return Release(release.access, release.node, merge(release.values, values), release.namespace)


def log(release: Release) -> str:
    return release.kubectl("logs", "deployment/finetune-operator")


def may(access: Access, user: str, verb: str, resource: str, namespace: str = "default") -> bool:
    """Whether the API server lets this user do this there."""
    name, _, subresource = resource.partition("/")
    plural, _, group = name.partition(".")
    attributes = {"verb": verb, "resource": plural, "group": group, "subresource": subresource, "namespace": namespace}
    review = {"spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}}
    answer = access.client.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    allowed: bool = answer["status"]["allowed"]
    return allowed


def test_the_rights_of_the_chart_are_enough_for_a_job_of_real_pods(
    cluster: Access, operator_release: Release, uninterrupted: Finished
) -> None:
    # Succeeding takes all of them but for Events, which are posted at best.
    events = cluster.client.list(EVENTS, uninterrupted.job.namespace)
    assert "Succeeded" in [each["reason"] for each in events if each["reportingComponent"] == "finetune.dev/operator"]
    refusals = [line for line in _said_during(operator_release, uninterrupted.status) if "forbidden" in line]
    assert refusals == []


def _said_during(release: Release, life: Status) -> list[str]:
    """Not before: an API server that starts again refuses everybody until it has read who may do what."""
    assert life.start_time is not None
    assert life.finish_time is not None
    since = life.start_time.isoformat()
    lines = release.kubectl(
        "logs", "deployment/finetune-operator", "--timestamps", f"--since-time={since}"
    ).splitlines()
    return [line for line in lines if datetime.fromisoformat(line.split()[0]) <= life.finish_time]


def test_the_operator_cannot_read_what_is_none_of_its_business(cluster: Access, operator_release: Release) -> None:
    operator = f"system:serviceaccount:{operator_release.namespace}:finetune-operator"
    assert may(cluster, operator, "list", "pods")
    others = ("secrets", "nodes", "serviceaccounts", "pods/log", "pods/exec", "persistentvolumeclaims")
    verbs = ("get", "list", "create")
    assert [each for each in others for verb in verbs if may(cluster, operator, verb, each)] == []


def test_whoever_may_edit_or_view_a_namespace_may_do_so_with_its_jobs(
    cluster: Access, operator_release: Release, namespace: str
) -> None:
    for role in ("edit", "view"):
        cluster.kubectl(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user=who-may-{role}", f"--namespace={namespace}"
        )
    jobs = "finetunejobs.finetune.dev"
    eventually(lambda: may(cluster, "who-may-edit", "create", jobs, namespace))
    eventually(lambda: may(cluster, "who-may-view", "watch", jobs, namespace))
    assert not may(cluster, "who-may-view", "create", jobs, namespace)
    # The status is the operator's word.
    assert not may(cluster, "who-may-edit", "patch", "finetunejobs.finetune.dev/status", namespace)


def test_a_second_release_for_the_whole_cluster_is_refused(second: Release) -> None:
    with pytest.raises(Refused, match=r'CustomResourceDefinition "finetunejobs\.finetune\.dev".* exists and cannot be'):
        second.install()
    with pytest.raises(Refused, match=r'ClusterRole "finetune-operator".* exists and cannot be imported'):
        beside(second).install()


def test_a_release_for_one_namespace_is_ready_with_the_rights_of_that_namespace(
    second: Release, namespace: str
) -> None:
    beside(second, namespace).install()
    assert second.restarts == 0
    assert "forbidden" not in log(second)


def test_an_upgrade_puts_another_pod_in_the_place_of_the_first(operator_release: Release) -> None:
    before = operator_release.pod["metadata"]["name"]
    changed = merge(operator_release.values, {"settings": {"workers": 3}})
    Release(operator_release.access, operator_release.node, changed).install()
    after = operator_release.pod
    (container,) = after["spec"]["containers"]
    assert after["metadata"]["name"] != before
    assert {"name": "FINETUNE_OPERATOR_WORKERS", "value": "3"} in container["env"]
    assert after["status"]["containerStatuses"][0]["ready"]


def test_jobs_outlive_the_operator_and_are_taken_up_by_the_next(
    cluster: Access, operator_release: Release, namespace: str
) -> None:
    kept = merge(operator_release.values, {"crds": {"keep": True}})
    Release(operator_release.access, operator_release.node, kept).install()
    body = make_body("waits", suspend=True) | {"metadata": {"name": "waits", "namespace": namespace}}
    said = cluster.helm("uninstall", "finetune-operator", "--wait", f"--namespace={operator_release.namespace}")
    assert "[CustomResourceDefinition] finetunejobs.finetune.dev" in said
    cluster.client.create(FINETUNE_JOBS, body)
    operator_release.install()
    eventually(lambda: (cluster.client.get(FINETUNE_JOBS, namespace, "waits") or {})["status"].get("phase"))
    cluster.client.delete(FINETUNE_JOBS, namespace, "waits")
