"""Which pods speak for an attempt, and when its gang runs."""

from __future__ import annotations

import pytest

from finetune_api.contract import Stage
from finetune_operator.decide.gang import pods_of, runs
from finetune_operator.observe import Observed, PodObserved
from observed import a_job, a_pod, ago, an_attempt, ended, waiting


def test_of_each_index_the_newest_pod_speaks() -> None:
    old = ended(0, 143, uid="old", creation_time=ago(900), gone=True)
    assert pods_of(an_attempt(), Observed(pods=(a_pod(1), a_pod(0), old))) == (a_pod(0), a_pod(1))


def test_pods_of_other_attempts_do_not() -> None:
    others = (a_pod(0, attempt=2), a_pod(1, stage=Stage.PREPARE))
    assert pods_of(an_attempt(), Observed(pods=others)) == ()


@pytest.mark.parametrize(
    ("pods", "runs_"),
    [
        ((a_pod(0), a_pod(1)), True),
        ((ended(0, 0), a_pod(1)), True),
        ((a_pod(0),), False),
        ((a_pod(0), waiting(1)), False),
        ((a_pod(0), ended(1, 143, gone=True)), False),
    ],
)
def test_a_gang_runs_when_every_pod_does_or_has(pods: tuple[PodObserved, ...], runs_: bool) -> None:
    assert runs(a_job(), pods) is runs_
