"""Why an attempt ended: every cause, every exit code, and which of several wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_api.contract import TERMINAL_EXIT_CODES, ExitCode, Stage
from finetune_api.result import Result
from finetune_api.status import Cause
from finetune_operator.decide.failure import Ending, ending
from finetune_operator.observe import Observed, PodObserved
from observed import NOW, a_job, a_pod, ago, an_attempt, ended, failed, too_large, waiting
from results import PUBLISHED


def end_of(observed: Observed) -> Ending:
    end = ending(an_attempt(), observed, NOW)
    assert end is not None
    return end


def test_an_attempt_whose_pods_run_goes_on() -> None:
    assert ending(an_attempt(), Observed(jobs=(a_job(),), pods=(a_pod(0), a_pod(1))), NOW) is None


def test_an_attempt_whose_job_was_never_seen_goes_on() -> None:
    assert ending(an_attempt(job_uid=None), Observed(), NOW) is None


def test_nothing_is_decided_while_a_pod_may_still_speak() -> None:
    assert ending(an_attempt(), failed(ended(0, 75, reason="LostPeer"), a_pod(1), finished=False), NOW) is None


def test_a_pod_on_a_silent_node_is_not_waited_for() -> None:
    silent = a_pod(1, deletion_time=ago(30))
    assert (
        ending(an_attempt(), failed(ended(0, 75, reason="LostPeer"), replace(silent, deletion_time=ago(29))), NOW)
        is None
    )
    assert end_of(failed(ended(0, 75, reason="LostPeer"), silent)).cause is Cause.NODE_LOST


@pytest.mark.parametrize("code", sorted(TERMINAL_EXIT_CODES))
def test_an_exit_code_that_says_so_ends_the_job_and_names_a_field(code: int) -> None:
    end = end_of(failed(ended(0, 1), ended(1, code)))
    assert end.cause is Cause.TERMINAL
    assert end.failure is not None
    assert end.failure.field is not None
    assert f"node-1 ended with exit code {code}" in end.failure.message


def test_the_trainers_own_words_go_before_the_meaning_of_its_exit_code() -> None:
    end = end_of(failed(ended(0, ExitCode.BAD_ROWS, reason="TooManyBadRows")))
    assert end.failure is not None
    assert (end.failure.reason, end.failure.message) == ("TooManyBadRows", "said TooManyBadRows")


GANG = {
    "any crash is counted": ((ended(0, 1), ended(1, 143)), Cause.CRASHED, 0, True),
    "a signal is a crash": ((ended(0, 143), ended(1, 139)), Cause.CRASHED, 1, True),
    "a kill without a reason is a crash": ((ended(0, 137),), Cause.CRASHED, 0, True),
    "the watchdog is a crash": (
        (ended(0, 75, reason="Watchdog"), ended(1, 75, reason="LostPeer")),
        Cause.CRASHED,
        0,
        True,
    ),
    "the first of several crashes decides": ((ended(0, 1, at=5), ended(1, 1, at=9)), Cause.CRASHED, 1, True),
    "a GPU without memory goes before the peers that crash with it": (
        (ended(0, 134), ended(1, 75, reason="LostPeer"), too_large(2, 8)),
        Cause.MICRO_BATCH_TOO_LARGE,
        2,
        False,
    ),
    "what does not say what fits is a crash": (
        (ended(0, 75, reason="MicroBatchTooLarge"),),
        Cause.CRASHED,
        0,
        True,
    ),
    "a terminal code goes before a GPU without memory": ((ended(0, 68), too_large(1, 8)), Cause.TERMINAL, 0, True),
    "a terminal code goes before a crash": ((ended(0, 1), ended(1, 65)), Cause.TERMINAL, 1, True),
    "memory goes before a terminal code": (
        (ended(0, 65), ended(1, 137, out_of_memory=True)),
        Cause.OUT_OF_MEMORY,
        1,
        True,
    ),
    "an eviction for its own limit goes before memory": (
        (ended(0, 137, out_of_memory=True), a_pod(1, stopped=True, running=False, evicted="too much scratch")),
        Cause.EVICTED,
        1,
        True,
    ),
    "a disruption goes before everything": (
        (ended(0, 65), ended(1, 143, disruption="EvictionByEvictionAPI")),
        Cause.DISRUPTED,
        1,
        False,
    ),
    "a disruption goes before the eviction it is part of": (
        (a_pod(0, stopped=True, running=False, evicted="node pressure", disruption="TerminationByKubelet"),),
        Cause.DISRUPTED,
        0,
        False,
    ),
    "a lost peer points at the node that was lost": (
        (ended(0, 75, reason="LostPeer"), a_pod(1, gone=True)),
        Cause.NODE_LOST,
        1,
        False,
    ),
    "peers that lost each other are counted": ((ended(0, 75, reason="LostPeer"),), Cause.LOST_PEER, 0, True),
    "a SIGTERM that stands alone is counted": (
        (ended(0, 143), ended(1, 75, reason="LostPeer")),
        Cause.CRASHED,
        0,
        True,
    ),
}


@pytest.mark.parametrize(("pods", "cause", "index", "counted"), GANG.values(), ids=GANG)
def test_one_pod_decides_for_its_gang(pods: tuple[PodObserved, ...], cause: Cause, index: int, counted: bool) -> None:
    end = end_of(failed(*pods))
    assert (end.cause, end.counted) == (cause, counted)
    assert end.pod is not None
    assert end.pod.index == index
    assert end.failure is not None


def test_memory_names_the_field_to_raise() -> None:
    end = end_of(failed(ended(1, 137, out_of_memory=True)))
    assert end.failure is not None
    assert end.failure.field == "spec.workers.resources.memory"


def test_memory_of_preparation_is_the_administrators() -> None:
    pod = ended(0, 137, out_of_memory=True, stage=Stage.PREPARE)
    end = ending(an_attempt(stage=Stage.PREPARE), Observed(jobs=(a_job(failing=True),), pods=(pod,)), NOW)
    assert end is not None
    assert end.failure is not None
    assert end.failure.field is None
    assert "operator's settings" in end.failure.message


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ('Usage of EmptyDir volume "scratch" exceeds the limit "100Gi".', "spec.workers.resources.scratch"),
        ("Pod ephemeral local storage usage exceeds the total limit", "spec.workers.resources.scratch"),
        ('Usage of EmptyDir volume "shm" exceeds the limit "8Gi".', None),
        ('Usage of EmptyDir volume "tmp" exceeds the limit "1Gi".', None),
    ],
)
def test_an_eviction_names_the_field_to_raise(words: str, field: str | None) -> None:
    end = end_of(failed(a_pod(0, stopped=True, running=False, evicted=words)))
    assert end.failure is not None
    assert end.failure.field == field
    assert words in end.failure.message


def test_a_job_that_is_no_more_was_deleted_by_somebody() -> None:
    end = end_of(Observed(pods=(ended(0, 143, gone=True), ended(1, 143, gone=True))))
    assert (end.cause, end.counted) == (Cause.DELETED, True)


def test_a_job_that_failed_before_it_was_deleted_failed() -> None:
    assert end_of(Observed(pods=(ended(0, 66, gone=True),))).cause is Cause.TERMINAL


def test_a_job_that_is_being_deleted_is_over_when_its_pods_are() -> None:
    deleting = a_job(deletion_time=ago(5))
    assert ending(an_attempt(), Observed(jobs=(deleting,), pods=(a_pod(0),)), NOW) is None
    assert end_of(Observed(jobs=(deleting,))).cause is Cause.DELETED


def test_what_was_published_counts_whatever_else_happened() -> None:
    result = Result(stage=Stage.TRAIN, attempt=1, published=PUBLISHED, checkpoint_step=300)
    pod = ended(0, 0)
    assert pod.end is not None
    done = replace(pod, end=replace(pod.end, result=result))
    for observed in (
        Observed(pods=(replace(done, gone=True),)),
        failed(done, ended(1, 1)),
        failed(done, complete=True),
    ):
        end = end_of(observed)
        assert (end.cause, end.result, end.checkpoint_step) == (Cause.COMPLETED, result, 300)


def test_a_complete_job_that_said_nothing_is_repeated_and_counted() -> None:
    end = end_of(Observed(jobs=(a_job(complete=True, finished=True, succeeded=2),), pods=(ended(0, 0), ended(1, 0))))
    assert (end.cause, end.counted) == (Cause.CRASHED, True)
    assert end.failure is not None
    assert end.failure.reason == "ResultUnreadable"


def test_a_failed_job_without_pods_says_what_the_job_says() -> None:
    end = end_of(failed())
    assert (end.cause, end.counted) == (Cause.CRASHED, True)
    assert end.failure is not None
    assert end.failure.message == "Job triage-5f0c1-train-1 failed: BackoffLimitExceeded"


def test_a_pod_that_never_ran_is_not_a_lost_node() -> None:
    end = end_of(failed(ended(0, 143), waiting(1, gone=True)))
    assert end.cause is Cause.CRASHED


def test_a_suspended_job_waits() -> None:
    suspended = Observed(jobs=(a_job(suspended=True),), pods=(ended(0, 143, gone=True),))
    assert ending(an_attempt(), suspended, NOW) is None


@pytest.mark.parametrize("overrides", [{"succeeded": 1}, {"failing": True}, {"deletion_time": ago(1)}])
def test_a_suspended_job_that_cannot_go_on_is_nobodys_fault(overrides: dict[str, object]) -> None:
    end = end_of(Observed(jobs=(a_job(suspended=True, **overrides),), pods=(ended(0, 65),)))
    assert (end.cause, end.counted) == (Cause.SUSPENDED, False)


def test_pods_that_a_queue_stopped_earlier_say_nothing_of_the_end() -> None:
    stopped = ended(0, 65, uid="earlier", creation_time=ago(900), gone=True)
    assert end_of(failed(stopped, ended(0, 1))).cause is Cause.CRASHED
