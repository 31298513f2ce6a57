"""Reconcile against a cluster in memory: whole lives of a FineTuneJob, and what must never happen in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from fake_cluster import Killed
from fake_world import PREPARE_1, SETTINGS, TRAIN_1, TRAIN_2, TRAIN_3, FakeWorld
from finetune_api.contract import ExitCode, Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Failure, Result
from finetune_api.status import Cause, Phase, Status
from finetune_operator.apply import Body, Kind, Ref, Rejected, Unavailable
from results import PREPARED, PUBLISHED, but

EVERY_KIND = (Kind.JOB, Kind.POD, Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY)


def prepared(attempt: int = 1) -> Result:
    return Result(stage=Stage.PREPARE, attempt=attempt, prepared=PREPARED)


def published(attempt: int = 1) -> Result:
    return Result(stage=Stage.TRAIN, attempt=attempt, published=PUBLISHED, checkpoint_step=300)


def crashed(attempt: int = 1, checkpoint_step: int | None = None, reason: str = "Crashed") -> Result:
    return Result(
        stage=Stage.TRAIN,
        attempt=attempt,
        failure=Failure(reason=reason, message="rank 1: a bug"),
        checkpoint_step=checkpoint_step,
    )


async def training(**spec: Any) -> FakeWorld:
    """A job of two nodes whose first train attempt runs."""
    world = FakeWorld(**{"workers": {"nodes": 2}, **spec})
    await world.rest()
    world.nodes.end_all(PREPARE_1, 0, prepared())
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    return world


async def crash(world: FakeWorld, job_name: str, attempt: int, **words: Any) -> None:
    world.nodes.end(f"{job_name}-1", 1, crashed(attempt, **words))
    await world.rest()


async def test_the_intent_is_written_before_the_first_child() -> None:
    world = FakeWorld()
    await world.look()
    assert world.cluster.writes == [
        "status triage",
        *(f"create {kind} {PREPARE_1}" for kind in ("ConfigMap", "NetworkPolicy", "Job")),
    ]
    assert world.status.start_time == world.cluster.now
    assert world.status.phase is Phase.PENDING


async def test_a_job_is_prepared_trained_and_published() -> None:
    world = FakeWorld(workers={"nodes": 2})
    await world.rest()
    assert world.status.phase is Phase.PREPARING
    world.nodes.end_all(PREPARE_1, 0, prepared())
    await world.look()
    assert world.status.phase is Phase.STARTING
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    world.nodes.end_all(TRAIN_1, 0, published())
    await world.rest()
    assert world.status.phase is Phase.SUCCEEDED
    assert world.status.run == PREPARED.run
    assert world.status.metrics == PUBLISHED.metrics
    assert world.status.artifacts is not None
    assert world.causes == [(PREPARE_1, Cause.COMPLETED), (TRAIN_1, Cause.COMPLETED)]
    assert world.condition("Succeeded") == ("True", "Completed")
    assert world.condition("Finished") == ("True", "Completed")
    assert [event.reason for event in world.cluster.events] == [
        "Preparing",
        "Prepared",
        "Starting",
        "TrainingStarted",
        "Succeeded",
    ]


async def test_a_second_look_at_the_same_cluster_writes_nothing() -> None:
    world = await training()
    writes = list(world.cluster.writes)
    for _ in range(3):
        await world.look()
    assert world.cluster.writes == writes


async def test_a_run_that_is_published_already_is_reused_without_training() -> None:
    world = FakeWorld()
    await world.rest()
    known = but(PREPARED, published=PUBLISHED)
    world.nodes.end_all(PREPARE_1, 0, Result(stage=Stage.PREPARE, attempt=1, prepared=known))
    await world.rest()
    assert world.condition("Succeeded") == ("True", "Reused")
    assert world.names(Kind.JOB) == [PREPARE_1]
    assert world.status.artifacts is not None


async def test_a_run_that_is_published_already_fails_the_job_that_asked_for_it() -> None:
    world = FakeWorld(output={"ifExists": "Fail"})
    await world.rest()
    known = but(PREPARED, published=PUBLISHED)
    world.nodes.end_all(PREPARE_1, 0, Result(stage=Stage.PREPARE, attempt=1, prepared=known))
    await world.rest()
    assert world.condition("Stalled") == ("True", "OutputExists")
    assert world.status.failure is not None
    assert world.status.failure.field == "spec.output.ifExists"


async def test_a_crash_restarts_the_whole_gang_in_a_new_job() -> None:
    world = await training()
    await crash(world, TRAIN_1, 1, checkpoint_step=100)
    assert world.status.phase is Phase.TRAINING
    assert world.names(Kind.JOB) == [PREPARE_1, TRAIN_2]
    assert world.names(Kind.POD) == [f"{PREPARE_1}-0", f"{TRAIN_2}-0", f"{TRAIN_2}-1"]
    assert world.names(Kind.SERVICE) == [TRAIN_2]
    ended = world.status.attempts[1]
    assert (ended.cause, ended.counted, ended.exit_code, ended.node) == (Cause.CRASHED, True, 1, "node-1")
    assert ended.checkpoint_step == 100


async def test_reconciling_stays_false_once_training_has_run() -> None:
    world = await training()
    assert world.condition("Reconciling") == ("False", "Started")
    world.nodes.pending[f"{TRAIN_2}-0"] = {"conditions": []}
    await crash(world, TRAIN_1, 1)
    assert world.status.phase is Phase.STARTING
    assert world.condition("Reconciling") == ("False", "Started")
    assert world.condition("Running")[0] == "False"


async def test_an_attempt_begins_only_when_all_pods_of_the_last_are_gone() -> None:
    world = await training()
    world.nodes.slow_to_stop.add(f"{TRAIN_1}-0")
    await crash(world, TRAIN_1, 1)
    assert world.status.phase is Phase.RESTARTING
    assert TRAIN_2 not in world.names(Kind.JOB)
    world.nodes.slow_to_stop.clear()
    await world.rest()
    assert TRAIN_2 in world.names(Kind.JOB)


async def test_a_job_that_is_resumed_at_once_waits_for_its_own_old_pods() -> None:
    world = await training()
    world.nodes.slow_to_stop = {f"{TRAIN_1}-0"}
    world.edit(suspend=True)
    await world.rest()
    world.edit(suspend=False)
    await world.rest()
    assert world.names(Kind.JOB) == [PREPARE_1, TRAIN_1]
    assert world.condition("Running") == ("False", "Stopping")
    world.nodes.slow_to_stop.clear()
    await world.rest()
    assert world.names(Kind.JOB) == [PREPARE_1, TRAIN_2]


async def test_a_pod_that_does_not_stop_is_deleted_by_force_30_s_past_its_grace() -> None:
    world = await training()
    world.nodes.slow_to_stop.add(f"{TRAIN_1}-0")
    await crash(world, TRAIN_1, 1)
    forced = f"delete Pod {TRAIN_1}-0 grace 0"
    await world.rest_over(SETTINGS.grace_seconds + 29)
    assert forced not in world.cluster.writes
    world.pass_time(1)
    await world.rest()
    assert forced in world.cluster.writes
    assert world.status.phase is Phase.TRAINING


async def test_a_lost_node_is_nobodys_fault() -> None:
    world = await training(workers={"nodes": 1})
    world.nodes.slow_to_stop.add(f"{TRAIN_1}-0")
    world.nodes.disrupt(f"{TRAIN_1}-0", "DeletionByTaintManager")
    await world.rest_over(SETTINGS.grace_seconds + 30)
    assert world.causes[1] == (TRAIN_1, Cause.DISRUPTED)
    assert not world.status.attempts[1].counted
    assert world.status.phase is Phase.TRAINING
    assert TRAIN_1 not in world.names(Kind.JOB)


async def test_disruptions_are_never_counted() -> None:
    world = await training(restart={"maxRestarts": 0})
    for number in range(1, 4):
        world.nodes.disrupt(f"triage-5f0c1-train-{number}-0")
        await world.rest_over(400)
    assert [cause for _, cause in world.causes[1:]] == [Cause.DISRUPTED] * 3 + [None]
    assert world.status.phase is Phase.TRAINING


async def test_the_restart_budget_ends_the_job() -> None:
    world = await training(restart={"maxRestarts": 2})
    for number in range(1, 4):
        await crash(world, f"triage-5f0c1-train-{number}", number, checkpoint_step=100 * number)
        await world.rest_over(400)
    assert world.status.phase is Phase.FAILED
    assert world.condition("Stalled") == ("True", "RestartsSpent")
    assert world.status.failure is not None
    assert "failed 3 times within 3600 s; the last: rank 1: a bug" in world.status.failure.message
    assert world.names(Kind.JOB) == [PREPARE_1, TRAIN_3]


async def test_failures_outside_the_window_are_forgiven() -> None:
    world = await training(restart={"maxRestarts": 1, "windowSeconds": 60})
    for number in range(1, 6):
        await crash(world, f"triage-5f0c1-train-{number}", number, checkpoint_step=100 * number)
        await world.rest_over(61)
    assert world.status.phase is Phase.TRAINING


async def test_three_failures_without_a_newer_checkpoint_end_the_job() -> None:
    world = await training()
    for number in range(1, 5):
        await crash(world, f"triage-5f0c1-train-{number}", number, checkpoint_step=100)
        await world.rest_over(400)
    assert len(world.status.attempts) == 5
    assert world.condition("Stalled") == ("True", "NoProgress")


async def test_restarts_back_off() -> None:
    world = await training()
    await crash(world, TRAIN_1, 1, checkpoint_step=1)
    assert world.causes[-1] == (TRAIN_2, None)
    world.nodes.end(f"{TRAIN_2}-0", 1, crashed(2, checkpoint_step=2))
    again = await world.rest()
    assert world.status.phase is Phase.RESTARTING
    assert again is not None
    assert 7.5 <= again <= 12.5
    world.pass_time(again - 1)
    assert await world.rest() == pytest.approx(1, abs=0.6)
    assert world.causes[-1] == (TRAIN_2, Cause.CRASHED)
    world.pass_time(2)
    await world.rest()
    assert world.causes[-1] == (TRAIN_3, None)


async def test_a_users_mistake_is_never_retried() -> None:
    world = FakeWorld()
    await world.rest()
    failure = Failure(reason="NoRows", message="spec.data.sources[0]: no object matches", field="spec.data.sources[0]")
    world.nodes.end_all(PREPARE_1, ExitCode.MISMATCH, Result(stage=Stage.PREPARE, attempt=1, failure=failure))
    await world.rest()
    assert world.status.phase is Phase.FAILED
    assert world.status.failure == failure
    assert world.causes == [(PREPARE_1, Cause.TERMINAL)]


async def test_words_of_a_pod_that_the_job_controller_deleted_are_remembered() -> None:
    world = await training()
    # The survivor's SIGTERM handling is what knows the last checkpoint, and its pod is deleted a moment later.
    world.nodes.end(f"{TRAIN_1}-0", 143, crashed(1, checkpoint_step=70, reason="Stopped"), settle=False)
    pod = Ref(Kind.POD, "ml", f"{TRAIN_1}-0")
    world.cluster.remove(pod)
    await crash(world, TRAIN_1, 1, checkpoint_step=60)
    assert world.status.attempts[1].checkpoint_step == 70


async def test_an_operator_that_forgot_everything_goes_on() -> None:
    world = await training()
    world.restart_operator()
    await crash(world, TRAIN_1, 1)
    world.restart_operator()
    world.nodes.end_all(TRAIN_2, 0, published(2))
    await world.rest()
    assert world.status.phase is Phase.SUCCEEDED


async def test_a_complete_job_whose_words_are_unreadable_is_repeated() -> None:
    world = await training()
    world.nodes.end_all(TRAIN_1, 0, "cut {")
    await world.rest()
    assert world.causes[1:] == [(TRAIN_1, Cause.CRASHED), (TRAIN_2, None)]
    world.nodes.end_all(TRAIN_2, 0, published(2))
    await world.rest()
    assert world.status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("kind", [Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY])
async def test_a_child_that_somebody_deleted_comes_back(kind: Kind) -> None:
    world = await training()
    world.cluster.doom(Ref(kind, "ml", TRAIN_1))
    await world.rest()
    assert TRAIN_1 in world.names(kind)
    assert world.causes[-1] == (TRAIN_1, None)


async def test_a_job_that_somebody_deleted_is_followed_by_the_next_attempt() -> None:
    world = await training()
    world.cluster.doom(Ref(Kind.JOB, "ml", TRAIN_1))
    await world.rest()
    assert world.causes[1:] == [(TRAIN_1, Cause.DELETED), (TRAIN_2, None)]
    assert world.names(Kind.SERVICE) == [TRAIN_2]


async def test_a_deleted_job_is_not_made_again_beside_its_dying_pods() -> None:
    world = await training()
    world.nodes.slow_to_stop = {f"{TRAIN_1}-0"}
    # In the background, as kubectl does it: the Job goes first.
    world.cluster.remove(Ref(Kind.JOB, "ml", TRAIN_1))
    await world.rest()
    assert world.names(Kind.JOB) == [PREPARE_1]
    assert world.condition("Running") == ("False", "Stopping")
    world.nodes.slow_to_stop.clear()
    await world.rest()
    assert world.causes[1:] == [(TRAIN_1, Cause.DELETED), (TRAIN_2, None)]


async def test_a_job_that_lost_its_labels_is_still_ours() -> None:
    world = await training()
    world.find(Kind.JOB, TRAIN_1)["metadata"]["labels"] = {}
    await world.rest()
    assert world.causes[-1] == (TRAIN_1, None)
    assert world.status.phase is Phase.TRAINING


@pytest.mark.parametrize("kind", [Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY, Kind.JOB])
async def test_a_name_that_a_stranger_has_is_said_and_the_stranger_left_alone(kind: Kind) -> None:
    world = FakeWorld()
    name = TRAIN_1
    stranger = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "ml", "labels": {}},
        "spec": {"completions": 1, "template": {"metadata": {"labels": {}}, "spec": {}}, "suspend": True},
    }
    body = world.cluster.add(stranger)
    await world.rest()
    world.nodes.end_all(PREPARE_1, 0, prepared())
    again = await world.rest()
    assert world.condition("Running") == ("False", "NameTaken")
    assert f"{kind.kind} {name} exists and belongs to somebody else" in next(
        each.message for each in world.status.conditions if each.type == "Running"
    )
    assert again is not None
    assert world.find(kind, name)["metadata"]["uid"] == body["metadata"]["uid"]
    assert kind is Kind.JOB or name not in world.names(Kind.JOB)
    world.cluster.remove(Ref(kind, "ml", name))
    await world.rest()
    assert world.status.phase is Phase.TRAINING


async def test_forged_labels_make_nobody_elses_pod_ours() -> None:
    world = await training()
    labels = world.nodes.pods(TRAIN_1)[0]["metadata"]["labels"]
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "forged", "namespace": "ml", "labels": dict(labels)},
        "spec": {},
        "status": {
            "phase": "Succeeded",
            "containerStatuses": [
                {"name": "trainer", "state": {"terminated": {"exitCode": 0, "message": published().encode().decode()}}}
            ],
        },
    }
    world.cluster.add(forged)
    await crash(world, TRAIN_1, 1)
    assert world.causes[1] == (TRAIN_1, Cause.CRASHED)
    assert "forged" in world.names(Kind.POD)


async def test_a_refused_child_is_said_in_the_servers_words_and_asked_for_again() -> None:
    world = FakeWorld()
    refusal = Rejected('jobs.batch "triage-5f0c1-prepare-1" is forbidden: exceeded quota: gpus')
    world.cluster.refuse = lambda write: refusal if write.startswith("create Job") else None
    again = await world.rest()
    assert world.condition("Reconciling") == ("True", "Refused")
    assert "exceeded quota: gpus" in next(
        each.message for each in world.status.conditions if each.type == "Reconciling"
    )
    assert again == 1
    writes = list(world.cluster.writes)
    world.pass_time(40)
    assert await world.look() == 20
    assert world.cluster.writes == writes
    world.cluster.refuse = lambda write: None
    await world.rest()
    assert world.status.phase is Phase.PREPARING


async def test_what_never_starts_fails_and_names_what_it_waited_for() -> None:
    world = FakeWorld(storage={"secretName": "s3"}, deadlines={"startSeconds": 60})
    why = {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}
    world.nodes.pending[f"{PREPARE_1}-0"] = {"containerStatuses": [{"name": "trainer", "state": {"waiting": why}}]}
    again = await world.rest()
    assert again == 60
    assert world.condition("Reconciling") == ("True", "ContainerConfig")
    world.pass_time(60)
    await world.rest()
    assert world.status.phase is Phase.FAILED
    assert world.status.failure is not None
    assert world.status.failure.field == "spec.storage.secretName"
    assert world.names(Kind.JOB) == []


async def test_a_later_attempt_that_does_not_start_in_time_is_tried_again() -> None:
    world = await training(deadlines={"startSeconds": 60})
    world.nodes.pending[f"{TRAIN_2}-0"] = {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available"}]
    }
    await crash(world, TRAIN_1, 1)
    assert world.condition("Running") == ("False", "Unschedulable")
    await world.rest_over(60)
    await world.rest_over(15)
    assert world.causes[1:] == [(TRAIN_1, Cause.CRASHED), (TRAIN_2, Cause.START_DEADLINE), (TRAIN_3, None)]


async def test_the_active_deadline_ends_the_job() -> None:
    world = await training(deadlines={"activeSeconds": 3600})
    await world.rest_over(3600)
    assert world.condition("Stalled") == ("True", "DeadlineExceeded")
    assert world.names(Kind.POD) == [f"{PREPARE_1}-0"]
    assert world.names(Kind.JOB) == [PREPARE_1]


async def test_a_suspended_job_holds_nothing_and_goes_on_in_a_new_attempt() -> None:
    world = await training()
    world.nodes.slow_to_stop = {f"{TRAIN_1}-0", f"{TRAIN_1}-1"}
    world.edit(suspend=True)
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    assert world.condition("Suspended") == ("False", "Stopping")
    world.nodes.slow_to_stop.clear()
    await world.rest()
    assert world.status.phase is Phase.SUSPENDED
    assert world.condition("Suspended") == ("True", "Suspended")
    assert world.condition("Reconciling") == ("False", "Started")
    assert world.names(Kind.JOB) == [PREPARE_1]
    world.edit(suspend=False)
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    assert world.causes[1:] == [(TRAIN_1, Cause.SUSPENDED), (TRAIN_2, None)]
    assert not world.status.attempts[1].counted


async def test_a_job_that_begins_suspended_makes_nothing() -> None:
    world = FakeWorld(suspend=True)
    await world.rest()
    assert world.status.phase is Phase.SUSPENDED
    assert world.status.start_time is None
    assert [world.names(kind) for kind in EVERY_KIND] == [[] for _ in EVERY_KIND]
    world.edit(suspend=False)
    await world.rest()
    assert world.status.phase is Phase.PREPARING


async def test_a_cancelled_job_is_finished_and_neither_succeeded_nor_stalled() -> None:
    world = await training()
    world.edit(cancel=True)
    await world.rest()
    assert world.status.phase is Phase.CANCELLED
    assert world.condition("Finished") == ("True", "Cancelled")
    assert world.condition("Succeeded") == ("False", "Cancelled")
    assert world.condition("Stalled")[0] == "False"
    assert world.names(Kind.JOB) == [PREPARE_1]


async def test_a_queue_that_holds_the_job_back_is_no_failure() -> None:
    world = FakeWorld(workers={"nodes": 2}, scheduling={"queueName": "gpus"})
    world.nodes.queue = lambda name: "train" in name
    await world.rest()
    world.nodes.end_all(PREPARE_1, 0, prepared())
    await world.rest()
    assert world.status.phase is Phase.QUEUED
    assert world.condition("Admitted") == ("False", "Queued")
    assert world.condition("Reconciling") == ("True", "Queued")
    await world.rest_over(100_000)
    assert world.status.phase is Phase.QUEUED
    world.nodes.suspend(TRAIN_1, False)
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    assert world.condition("Admitted") == ("True", "Admitted")
    world.nodes.suspend(TRAIN_1)
    await world.rest()
    assert world.status.phase is Phase.QUEUED
    assert world.condition("Suspended")[0] == "False"
    assert world.causes[-1] == (TRAIN_1, None)
    world.nodes.suspend(TRAIN_1, False)
    await world.rest()
    assert world.status.phase is Phase.TRAINING
    assert [attempt.counted for attempt in world.status.attempts] == [False, False]


async def test_a_queue_that_stops_a_gang_in_which_some_have_finished_gets_a_new_job() -> None:
    world = await training()
    world.nodes.end(f"{TRAIN_1}-0", 0, published())
    world.nodes.suspend(TRAIN_1)
    await world.rest()
    assert world.causes[1:] == [(TRAIN_1, Cause.SUSPENDED), (TRAIN_2, None)]


async def test_an_attempt_after_a_counted_failure_says_that_it_queues_again() -> None:
    world = await training(scheduling={"queueName": "gpus"})
    world.nodes.queue = lambda name: name == TRAIN_2
    await crash(world, TRAIN_1, 1)
    assert world.condition("Admitted") == ("False", "RequeuedAfterFailure")


async def test_the_queue_deadline_ends_the_job() -> None:
    world = FakeWorld(scheduling={"prepareQueueName": "cpus"}, deadlines={"pendingSeconds": 300})
    world.nodes.queue = lambda name: True
    assert await world.rest() == 300
    await world.rest_over(300)
    assert world.condition("Stalled") == ("True", "QueueDeadline")
    assert world.names(Kind.JOB) == []


async def test_the_end_is_the_same_whether_or_not_the_middle_was_seen() -> None:
    seen = await training()
    seen.nodes.end_all(TRAIN_1, 0, published())
    await seen.rest()
    unseen = FakeWorld(workers={"nodes": 2})
    await unseen.look()
    unseen.nodes.settle()
    unseen.nodes.end_all(PREPARE_1, 0, prepared())
    await unseen.look()
    unseen.nodes.settle()
    unseen.nodes.end_all(TRAIN_1, 0, published())
    await unseen.look()
    assert unseen.status == seen.status
    assert unseen.condition("Admitted") == ("True", "NotQueued")


async def test_what_was_remembered_of_a_finished_job_is_forgotten() -> None:
    world = await training()
    world.nodes.end_all(TRAIN_1, 0, published())
    await world.rest()
    assert world.memory.pods(world.job.metadata.uid) == ()


async def test_a_finished_job_stays_as_it_ended() -> None:
    world = await training()
    world.nodes.end_all(TRAIN_1, 0, published())
    await world.rest()
    ended = world.status
    for name in (PREPARE_1, TRAIN_1):
        world.cluster.doom(Ref(Kind.JOB, "ml", name))
    world.edit(suspend=True, cancel=True)
    await world.rest_over(1_000_000)
    assert world.status.observed_generation == 2
    assert world.status.finish_time == ended.finish_time
    assert world.status.attempts == ended.attempts
    assert world.status.phase is Phase.SUCCEEDED
    assert world.names(Kind.JOB) == []


async def test_what_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    world = await training()
    world.nodes.slow_to_stop = {f"{TRAIN_1}-0"}
    world.cluster.doom(world.ref)
    writes = list(world.cluster.writes)
    await world.rest()
    assert world.cluster.writes == writes
    world.nodes.slow_to_stop.clear()
    await world.rest()
    assert world.cluster.objects == {}
    assert await world.look() is None


async def test_a_job_of_the_same_name_is_another_job() -> None:
    world = await training()
    old = world.find(Kind.JOB, TRAIN_1)["metadata"]["uid"]
    body = dict(world.cluster.objects.pop(world.ref))
    body["metadata"] = {**body["metadata"], "uid": "aaaaa000-0000-4000-8000-000000000000"}
    body["status"] = {"observedGeneration": -1}
    world.cluster.add(body)
    await world.rest()
    assert "triage-aaaaa-prepare-1" in world.names(Kind.JOB)
    assert world.find(Kind.JOB, TRAIN_1)["metadata"]["uid"] == old


async def test_progress_is_written_at_most_every_so_often() -> None:
    world = await training()

    async def hear(step: int, after: float) -> int:
        world.pass_time(after)
        progress = Progress(
            stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=step, checkpoint_step=step // 10
        )
        world.memory.heard("ml", world.job.metadata.uid, progress, world.cluster.now)
        await world.look()
        assert world.status.progress is not None
        assert world.status.progress.step is not None
        return world.status.progress.step

    assert [await hear(10, 0), await hear(11, 5), await hear(12, 5), await hear(13, 5)] == [10, 10, 10, 13]
    assert world.status.checkpoint is not None
    assert world.status.checkpoint.step == 1


async def test_silence_of_rank_0_is_said_once() -> None:
    world = await training()
    assert await world.rest() == 60
    world.pass_time(60)
    await world.rest()
    writes = list(world.cluster.writes)
    message = next(each.message for each in world.status.conditions if each.type == "Running")
    assert message == "all pods run; rank 0 does not answer at its progress port"
    world.pass_time(60)
    await world.rest()
    assert world.cluster.writes == writes


async def test_a_spec_that_cannot_be_read_is_said_and_leaves_running_pods_alone() -> None:
    world = await training()
    world.edit(task={"type": "Telepathy"})
    again = await world.rest()
    assert again is None
    assert world.names(Kind.POD) == [f"{PREPARE_1}-0", f"{TRAIN_1}-0", f"{TRAIN_1}-1"]
    conditions = {each["type"]: each for each in world.cluster.objects[world.ref]["status"]["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert "spec.task.type" in conditions["Stalled"]["message"]
    world.edit(task={"type": "Instruction"})
    await world.rest()
    assert world.condition("Stalled")[0] == "False"
    assert world.status.failure is None
    assert world.status.phase is Phase.TRAINING


async def test_a_finished_job_stays_as_it_ended_when_an_operator_cannot_read_its_spec_any_more() -> None:
    world = await training()
    world.nodes.end_all(TRAIN_1, 0, published())
    await world.rest()
    ended = world.status
    world.edit(task={"type": "Telepathy"})
    await world.rest()
    assert Status.parse(world.cluster.objects[world.ref]["status"]) == ended


NEWER = {
    "a phase": ("status.phase", lambda status: status.update(phase="Paused")),
    "a cause": ("status.attempts[0].cause", lambda status: status["attempts"][0].update(cause="Rebalanced")),
    "a condition": ("status.conditions[0].type", lambda status: status["conditions"][0].update(type="Exported")),
}


@pytest.mark.parametrize(("field", "change"), NEWER.values(), ids=NEWER)
async def test_a_status_of_a_newer_operator_is_left_alone_and_somebody_is_told_once(
    field: str, change: Callable[[dict[str, Any]], None]
) -> None:
    world = await training()
    change(world.cluster.objects[world.ref]["status"])
    world.cluster.changed(world.ref)
    world.nodes.end_all(TRAIN_1, 0, published())
    before, world.cluster.events = list(world.cluster.writes), []
    assert [await world.look() for _ in range(3)] == [None] * 3
    assert world.cluster.writes == before
    (event,) = world.cluster.events
    assert (event.type, event.reason) == ("Warning", "StatusUnreadable")
    assert f"({field}: " in event.message
    assert event.message.endswith("so the job is left as it is: upgrade finetune-operator.")


async def test_fields_of_a_newer_status_are_no_obstacle() -> None:
    world = await training()
    world.cluster.objects[world.ref]["status"]["novelty"] = {"a": 1}
    world.nodes.end_all(TRAIN_1, 0, published())
    await world.rest()
    assert world.status.phase is Phase.SUCCEEDED


async def test_the_image_that_ran_is_known_by_its_digest() -> None:
    world = FakeWorld()
    await world.rest()
    pod = world.find(Kind.POD, f"{PREPARE_1}-0")
    pod["status"]["containerStatuses"][0]["imageID"] = "registry.example/trainer@sha256:00ff"
    await world.rest()
    assert [stage.image_digest for stage in world.status.stages] == ["sha256:00ff", None]


async def test_another_job_with_the_same_output_is_told_of_for_as_long_as_it_lasts() -> None:
    world = FakeWorld()
    world.rivals = (Ref(Kind.FINE_TUNE_JOB, "ml", "other"),)
    assert await world.rest() == 30
    assert world.condition("Succeeded") == ("Unknown", "OutputShared")
    assert world.condition("Running")[1] != "OutputShared"
    world.rivals = ()
    await world.rest()
    assert world.condition("Succeeded") == ("Unknown", "Preparing")


async def test_files_of_one_machine_are_refused_on_a_cluster() -> None:
    world = FakeWorld(output={"uri": "file:///home/me/models"})
    await world.rest()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.status.failure is not None
    assert world.status.failure.field == "spec.output.uri"
    assert world.names(Kind.JOB) == []


async def test_an_api_server_that_does_not_answer_is_left_to_the_work_queue() -> None:
    world = FakeWorld()
    world.cluster.refuse = lambda write: Unavailable("etcdserver: leader changed", retry_after=3)
    with pytest.raises(Unavailable, match="leader changed"):
        await world.look()


async def test_a_status_that_somebody_changed_is_read_again() -> None:
    world = FakeWorld()
    world.cluster.refuse = lambda write: world.cluster.changed(world.ref) if write.startswith("status") else None
    assert await world.look() == 1
    assert world.names(Kind.JOB) == []


async def test_what_was_edited_while_it_was_observed_is_not_decided_upon() -> None:
    world = FakeWorld()
    unedited = world.cluster.list

    async def while_somebody_edits(kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        world.cluster.list = unedited
        world.edit(suspend=True)
        return await unedited(kind, namespace, labels)

    world.cluster.list = while_somebody_edits
    assert await world.look() == 1
    assert world.cluster.writes == []
    await world.rest()
    assert world.names(Kind.JOB) == []


# What the whole life of a job comes to, when the operator dies before or after each of its writes.


async def a_life(world: FakeWorld) -> None:
    """Crash, suspension, resumption, success; each step resumed by a new operator when the old one is killed."""

    async def rest() -> None:
        while True:
            try:
                await world.rest()
                return
            except Killed:
                world.restart_operator()

    await rest()
    world.nodes.end_all(PREPARE_1, 0, prepared())
    await rest()
    world.nodes.end(f"{TRAIN_1}-1", 1, crashed(1, checkpoint_step=10))
    await rest()
    world.edit(suspend=True)
    await rest()
    world.edit(suspend=False)
    await rest()
    world.nodes.end_all(TRAIN_3, 0, published(3))
    await rest()


def end_state(world: FakeWorld) -> tuple[Any, ...]:
    children = {
        (ref.kind, ref.name): {key: body.get(key) for key in ("spec", "data")}
        for ref, body in world.cluster.objects.items()
        if ref.kind is not Kind.FINE_TUNE_JOB
    }
    return world.status.to_json(), children


async def test_an_operator_killed_around_any_write_leads_to_the_same_end() -> None:
    undisturbed = FakeWorld(workers={"nodes": 2})
    await a_life(undisturbed)
    assert undisturbed.status.phase is Phase.SUCCEEDED
    num_writes = len(undisturbed.cluster.writes)
    assert num_writes > 20
    for call in range(num_writes):
        for moment in ("before", "after"):
            world = FakeWorld(workers={"nodes": 2})
            world.cluster.kill_at = (call, moment)
            await a_life(world)
            assert world.cluster.kill_at[0] < num_writes
            assert end_state(world) == end_state(undisturbed), (call, moment)
