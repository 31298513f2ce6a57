"""Bodies as the API server has them → what decisions need, and what is remembered of pods that are gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fake_cluster import FakeCluster
from finetune_api.contract import LABEL_ATTEMPT, LABEL_STAGE, LABEL_UID, Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Result
from finetune_operator.apply import Kind, Ref
from finetune_operator.observe import ChildObserved, End, Heard, JobObserved, PodObserved
from finetune_operator.observe.bodies import JobBody, Origin, PodBody, origin_of
from finetune_operator.observe.jobs import job_from
from finetune_operator.observe.look import observe
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.pods import pod_from
from jobs import UID, make_job
from observed import NOW, an_attempt, an_ended_attempt, prepared_status

CREATED = "2026-11-23T11:00:00Z"
RESULT = Result(stage=Stage.TRAIN, attempt=2, checkpoint_step=7)
SAID = RESULT.encode().decode()


def body(
    kind: Kind, name: str = "triage-5f0c1-train-2", *, attempt: int = 2, owner: str = UID, **fields: Any
) -> dict[str, Any]:
    """Of a child, with managedFields and everything else that nobody needs."""
    metadata = {
        "name": name,
        "namespace": "ml",
        "uid": f"uid-of-{name}",
        "resourceVersion": "7",
        "creationTimestamp": CREATED,
        "managedFields": [{"manager": "finetune-operator", "fieldsV1": {"f:spec": {}}}],
        "labels": {LABEL_UID: UID, LABEL_STAGE: "train", LABEL_ATTEMPT: str(attempt), "team": "search"},
        "ownerReferences": [{"apiVersion": "x/v1", "kind": "X", "name": "x", "uid": owner, "controller": True}],
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        **fields,
        "metadata": {**metadata, **fields.get("metadata", {})},
    }


def pod_body(
    name: str = "triage-5f0c1-train-2-1", *, attempt: int = 2, metadata: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    return body(
        Kind.POD,
        name,
        attempt=attempt,
        owner="uid-of-triage-5f0c1-train-2",
        metadata={"annotations": {"batch.kubernetes.io/job-completion-index": "1"}, **(metadata or {})},
        spec={"nodeName": "node-3", "containers": [{"name": "trainer", "image": "x"}]},
        status=status,
    )


def read_pod(**status: Any) -> PodObserved:
    read = PodBody.parse(pod_body(**status), ignore_unknown=True)
    origin = origin_of(read.metadata)
    assert origin is not None
    return pod_from(read, origin)


def container(**state: Any) -> list[dict[str, Any]]:
    return [
        {"name": "injected-proxy", "state": {"terminated": {"exitCode": 9}}},
        {"name": "trainer", "ready": True, "restartCount": 0, "image": "x", "imageID": "", "state": state},
    ]


def read_job(spec: dict[str, Any], status: dict[str, Any]) -> JobObserved:
    return job_from(
        JobBody.parse(body(Kind.JOB, spec=spec, status=status), ignore_unknown=True), Origin(UID, Stage.TRAIN, 2)
    )


def test_a_running_pod() -> None:
    assert read_pod(
        phase="Running",
        podIP="10.0.0.7",
        conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}],
        containerStatuses=container(running={"startedAt": CREATED}),
    ) == PodObserved(
        name="triage-5f0c1-train-2-1",
        uid="uid-of-triage-5f0c1-train-2-1",
        job_uid="uid-of-triage-5f0c1-train-2",
        stage=Stage.TRAIN,
        attempt=2,
        index=1,
        stopped=False,
        running=True,
        node="node-3",
        image_digest=None,
        creation_time=datetime(2026, 11, 23, 11, tzinfo=UTC),
        waiting_reason=None,
        waiting_message="",
        unschedulable=None,
        end=None,
        disruption=None,
        evicted=None,
        deletion_time=None,
        gone=False,
    )


def test_an_ended_pod_with_its_last_words() -> None:
    ended = {"exitCode": 75, "reason": "Error", "message": SAID, "startedAt": CREATED, "finishedAt": CREATED}
    pod = read_pod(phase="Failed", containerStatuses=container(terminated=ended))
    assert pod.stopped
    assert pod.end == End(
        exit_code=75, out_of_memory=False, result=RESULT, finish_time=datetime(2026, 11, 23, 11, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "words",
    ["", "Killed", "{", "[]", "null", SAID[:-1], '{"stage": "Train"}', SAID.replace('"attempt":2', '"attempt":1')],
)
def test_words_that_are_no_result_of_this_attempt_are_none(words: str) -> None:
    pod = read_pod(phase="Failed", containerStatuses=container(terminated={"exitCode": 137, "message": words}))
    assert pod.end is not None
    assert pod.end.result is None


def test_a_result_of_a_newer_trainer_is_read_as_far_as_it_is_known() -> None:
    words = SAID.replace('"attempt":2', '"attempt":2,"novelty":{"a":1}')
    pod = read_pod(phase="Failed", containerStatuses=container(terminated={"exitCode": 1, "message": words}))
    assert pod.end is not None
    assert pod.end.result == RESULT


def test_memory_disruption_and_eviction_are_told_apart() -> None:
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    pod = read_pod(phase="Failed", containerStatuses=container(terminated=killed))
    assert pod.end is not None
    assert pod.end.out_of_memory
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    assert read_pod(phase="Running", conditions=[condition]).disruption == "PreemptionByScheduler"
    assert read_pod(phase="Running", conditions=[{**condition, "status": "False"}]).disruption is None
    evicted = read_pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "scratch" exceeds')
    assert evicted.evicted == 'Usage of EmptyDir volume "scratch" exceeds'
    assert read_pod(phase="Failed", reason="Shutdown", message="x").evicted is None


def test_a_pod_that_waits_says_why() -> None:
    why = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
    pod = read_pod(phase="Pending", containerStatuses=container(waiting=why))
    assert (pod.waiting_reason, pod.waiting_message) == ("ImagePullBackOff", 'Back-off pulling image "x"')
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes"}
    assert read_pod(phase="Pending", conditions=[condition]).unschedulable == "0/4 nodes"


def test_a_pod_that_is_being_deleted_says_until_when() -> None:
    pod = read_pod(phase="Running", metadata={"deletionTimestamp": "2026-11-23T12:00:00Z"})
    assert pod.deletion_time == NOW
    assert pod.live


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {LABEL_UID: UID},
        {LABEL_UID: UID, LABEL_STAGE: "cook", LABEL_ATTEMPT: "1"},
        {LABEL_UID: UID, LABEL_STAGE: "train", LABEL_ATTEMPT: "one"},
        {LABEL_UID: UID, LABEL_STAGE: "train", LABEL_ATTEMPT: "9" * 20},
    ],
)
def test_labels_that_are_not_ours_name_no_origin(labels: dict[str, str]) -> None:
    read = PodBody.parse(pod_body(metadata={"labels": labels}), ignore_unknown=True)
    assert origin_of(read.metadata) is None


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        ("registry.example/trainer@sha256:00ff", "sha256:00ff"),
        ("sha256:00ff", "sha256:00ff"),
        ("", None),
        (f"x@sha512:{'f' * 500}", None),
    ],
)
def test_an_image_is_known_by_its_digest_once_the_node_has_it(image_id: str, digest: str | None) -> None:
    ours = {"name": "trainer", "imageID": image_id, "state": {"running": {}}}
    assert read_pod(phase="Running", containerStatuses=[ours]).image_digest == digest


def test_a_running_job() -> None:
    status = {"active": 2, "ready": 1, "startTime": "2026-11-23T12:00:00Z"}
    assert read_job({"completions": 2, "parallelism": 2}, status) == JobObserved(
        name="triage-5f0c1-train-2",
        uid="uid-of-triage-5f0c1-train-2",
        stage=Stage.TRAIN,
        attempt=2,
        start_time=NOW,
        suspended=False,
        queue=None,
        completions=2,
        succeeded=0,
        complete=False,
        failing=False,
        finished=False,
        message="",
        deletion_time=None,
    )


@pytest.mark.parametrize(
    ("types", "complete", "failing", "finished"),
    [
        (["SuccessCriteriaMet"], False, False, False),
        (["SuccessCriteriaMet", "Complete"], True, False, True),
        (["FailureTarget"], False, True, False),
        (["FailureTarget", "Failed"], False, True, True),
        (["Suspended"], False, False, False),
    ],
)
def test_what_a_jobs_conditions_mean(types: list[str], complete: bool, failing: bool, finished: bool) -> None:
    conditions = [{"type": each, "status": "True", "message": f"{each}!"} for each in types]
    job = read_job({"suspend": "Suspended" in types}, {"conditions": conditions, "succeeded": 1})
    assert (job.complete, job.failing, job.finished) == (complete, failing, finished)
    assert job.suspended == ("Suspended" in types)


ENDED = {"phase": "Failed", "containerStatuses": container(terminated={"exitCode": 1, "message": SAID})}
RUNNING = {"phase": "Running", "containerStatuses": container(running={})}
READING = Progress(stage=Stage.TRAIN, attempt=2, activity=Activity.TRAINING, step=5)


def expecting() -> Memory:
    memory = Memory()
    memory.expect("ml", UID)
    return memory


def test_only_pods_that_may_vanish_are_remembered() -> None:
    memory = expecting()
    memory.pod_seen(pod_body("a", **RUNNING))
    memory.pod_seen(pod_body("b", metadata={"labels": {}}, **ENDED))
    assert memory.pods(UID) == ()
    memory.pod_seen(pod_body("a", metadata={"deletionTimestamp": CREATED}, **RUNNING))
    assert [(pod.name, pod.end, pod.gone) for pod in memory.pods(UID)] == [("a", None, False)]
    memory.pod_gone(pod_body("a", **ENDED))
    (pod,) = memory.pods(UID)
    assert pod.gone
    assert pod.end is not None
    assert pod.end.result == RESULT
    memory.forget(UID)
    assert memory.pods(UID) == ()


def test_only_the_latest_attempt_is_remembered() -> None:
    memory = expecting()
    memory.pod_gone(pod_body("a", attempt=2, **ENDED))
    memory.pod_gone(pod_body("b", attempt=3, **ENDED))
    memory.pod_gone(pod_body("c", attempt=2, **ENDED))
    assert [pod.name for pod in memory.pods(UID)] == ["b"]


def test_of_pods_that_a_queue_stopped_and_started_again_the_newest_of_each_index_is_remembered() -> None:
    memory = expecting()
    memory.pod_gone(pod_body("other", metadata={"annotations": {}}, **ENDED))
    for number in range(3):
        memory.pod_gone(pod_body(f"again-{number}", metadata={"creationTimestamp": f"2027-01-0{number + 1}T00:00:00Z"}))
    assert {pod.name for pod in memory.pods(UID)} == {"other", "again-2"}


def test_of_a_job_that_nobody_expects_nothing_is_kept() -> None:
    memory = expecting()
    memory.forget(UID)
    # The garbage collector ends pods after their owner.
    memory.pod_gone(pod_body("a", **ENDED))
    memory.heard("ml", UID, READING, NOW)
    memory.expect("ml", UID)
    assert memory.pods(UID) == ()
    assert memory.progress(UID) is None


def test_pods_of_another_namespace_speak_for_nobody() -> None:
    memory = expecting()
    memory.pod_gone(pod_body("a", metadata={"namespace": "strangers"}, **ENDED))
    memory.heard("strangers", UID, READING, NOW)
    assert memory.pods(UID) == ()
    assert memory.progress(UID) is None


def train_2() -> Any:
    job_name = "triage-5f0c1-train-2"
    return make_job(status=prepared_status(an_ended_attempt(1), an_attempt(2, job_name=job_name, job_uid=None)))


def a_cluster(*bodies: dict[str, Any]) -> FakeCluster:
    cluster = FakeCluster(NOW)
    for each in bodies:
        cluster.add(each)
    return cluster


async def test_one_look_holds_our_children_and_no_one_elses() -> None:
    cluster = a_cluster(
        body(Kind.JOB, spec={"completions": 2}, status={}),
        body(Kind.JOB, "strangers", owner="other", spec={}),
        body(Kind.CONFIG_MAP, data={}),
        body(Kind.CONFIG_MAP, "strangers", owner="other"),
        body(Kind.SERVICE, spec={}),
        body(Kind.NETWORK_POLICY, spec={}),
        pod_body(**RUNNING),
        {**pod_body("strangers", **RUNNING), "metadata": {**pod_body("strangers")["metadata"], "ownerReferences": []}},
    )
    observed = await observe(train_2(), cluster, Memory())
    assert [job.name for job in observed.jobs] == ["triage-5f0c1-train-2"]
    assert [pod.name for pod in observed.pods] == ["triage-5f0c1-train-2-1"]
    assert observed.others == tuple(
        ChildObserved(
            ref=Ref(kind, "ml", "triage-5f0c1-train-2"), uid="uid-of-triage-5f0c1-train-2", deletion_time=None
        )
        for kind in (Kind.SERVICE, Kind.CONFIG_MAP, Kind.NETWORK_POLICY)
    )


async def test_a_remembered_pod_is_gone_once_it_is_listed_no_more() -> None:
    memory = expecting()
    memory.pod_seen(pod_body("triage-5f0c1-train-2-1", **ENDED))
    memory.pod_seen(pod_body("triage-5f0c1-train-2-0", **ENDED))
    job = body(Kind.JOB, spec={"completions": 2}, status={})
    cluster = a_cluster(job, pod_body("triage-5f0c1-train-2-1", **RUNNING))
    observed = await observe(train_2(), cluster, memory)
    assert [(pod.name, pod.gone, pod.running) for pod in observed.pods] == [
        ("triage-5f0c1-train-2-1", False, True),
        ("triage-5f0c1-train-2-0", True, False),
    ]


async def test_a_remembered_pod_that_bears_our_labels_under_another_owner_is_not_ours() -> None:
    memory = expecting()
    memory.pod_gone({**body(Kind.POD, "forged", owner="other"), "status": ENDED})
    assert len(memory.pods(UID)) == 1
    job = body(Kind.JOB, spec={"completions": 2}, status={})
    assert (await observe(train_2(), a_cluster(job), memory)).pods == ()


async def test_pods_of_a_job_that_was_seen_and_is_gone_are_still_ours() -> None:
    status = prepared_status(an_attempt(2, job_name="triage-5f0c1-train-2", job_uid="uid-of-triage-5f0c1-train-2"))
    observed = await observe(make_job(status=status), a_cluster(pod_body(**RUNNING)), Memory())
    assert observed.jobs == ()
    assert [pod.name for pod in observed.pods] == ["triage-5f0c1-train-2-1"]


async def test_a_job_that_is_not_listed_is_asked_for_by_name() -> None:
    unlabelled = body(Kind.JOB, metadata={"labels": {}}, spec={"completions": 2})
    observed = await observe(train_2(), a_cluster(unlabelled), Memory())
    assert [(job.name, job.stage, job.attempt) for job in observed.jobs] == [("triage-5f0c1-train-2", Stage.TRAIN, 2)]
    strangers = body(Kind.JOB, metadata={"labels": {}}, owner="other", spec={})
    assert (await observe(train_2(), a_cluster(strangers), Memory())).jobs == ()


@pytest.mark.parametrize(("attempt", "is_heard"), [(1, False), (2, True)])
async def test_progress_is_that_of_the_open_attempt(attempt: int, is_heard: bool) -> None:
    memory = expecting()
    progress = Progress(stage=Stage.TRAIN, attempt=attempt, activity=Activity.TRAINING, step=5)
    memory.heard("ml", UID, progress, NOW)
    observed = await observe(train_2(), a_cluster(), memory)
    assert observed.heard == (Heard(progress=progress, time=NOW) if is_heard else None)
