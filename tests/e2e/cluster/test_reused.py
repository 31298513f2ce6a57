"""A job that was deleted after its success and is applied again finds its model published, and trains nothing."""

from __future__ import annotations

import pytest

from finetune_api.contract import Stage
from finetune_api.status import ConditionType, Phase
from finetune_operator.decide.conditions import condition
from real.store import Store
from real.story import Finished, finish

pytestmark = pytest.mark.tier("node")


@pytest.mark.timeout(240)
def test_the_same_object_again_is_reused(uninterrupted: Finished, store: Store) -> None:
    job = uninterrupted.job
    job.delete()
    job.apply()

    again = finish(job, store)

    succeeded = condition(again.status, ConditionType.SUCCEEDED)
    assert succeeded is not None
    assert succeeded.reason == "Reused"
    assert again.status.phase is Phase.SUCCEEDED
    assert [(each.stage, each.number) for each in again.status.attempts] == [(Stage.PREPARE, 1)]
    assert job.pods(Stage.TRAIN) == []
    assert again.publication == uninterrupted.publication
    assert (again.status.artifacts, again.status.metrics) == (
        uninterrupted.status.artifacts,
        uninterrupted.status.metrics,
    )
