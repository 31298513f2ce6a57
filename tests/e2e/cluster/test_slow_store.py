"""S3 behind a proxy that is slow and refuses, cuts and forgets requests: the same model, in the first attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from finetune_api.contract import Stage
from real.job import RealJob
from real.slow_store import SlowStore
from real.store import Store
from real.story import Finished, finish

pytestmark = pytest.mark.tier("node")


@pytest.fixture
def slow_store(store: Store) -> Iterator[SlowStore]:
    slow = SlowStore(store, seed=4)
    try:
        slow.start()
        yield slow
    finally:
        slow.stop()


@pytest.mark.timeout(400)
def test_a_slow_and_sometimes_refusing_store_changes_nothing(
    new_job: Callable[..., RealJob], slow_store: SlowStore, store: Store, uninterrupted: Finished
) -> None:
    job = new_job("patient", storage=store.storage_spec(slow_store.endpoint))
    job.apply()

    patient = finish(job, store)

    assert [(each.stage, each.number) for each in patient.status.attempts] == [(Stage.PREPARE, 1), (Stage.TRAIN, 1)]
    assert patient.publication.same_model_as(uninterrupted.publication)
    faults = slow_store.faults()
    assert set(faults) == {"BUSY", "CUT_REQUEST", "CUT_REPLY", "CUT_BODY"}, faults
