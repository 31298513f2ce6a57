"""Which field would give a run more steps."""

from __future__ import annotations

import pytest

from finetune_api.spec import Training
from finetune_operator.decide.phases import described
from finetune_operator.decide.steps import FEW_STEPS, field_for_more_steps
from finetune_operator.observe import Observed
from observed import NOW, a_fine_tune_job, prepared_status
from results import PREPARED, but


@pytest.mark.parametrize(
    ("training", "field"),
    [
        (Training(), "spec.training.epochs"),
        (Training(global_batch_size=1), "spec.training.epochs"),
        (Training(global_batch_size=64), "spec.training.globalBatchSize"),
        (Training(global_batch_size=64, max_steps=FEW_STEPS - 1), "spec.training.maxSteps"),
        (Training(max_steps=1000), "spec.training.epochs"),
    ],
)
def test_fewer_than_50_steps_name_the_field_that_gives_more(training: Training, field: str) -> None:
    assert field_for_more_steps(training, but(PREPARED.resolved, total_steps=FEW_STEPS - 1)) == field
    assert field_for_more_steps(training, but(PREPARED.resolved, total_steps=FEW_STEPS)) is None


def test_a_job_with_few_steps_is_prepared_all_the_same_and_says_so() -> None:
    status = prepared_status()
    job = a_fine_tune_job(status.model_copy(update={"resolved": but(PREPARED.resolved, total_steps=12)}))
    prepared = described(job, Observed(), NOW).conditions[0]
    assert (prepared.status, prepared.reason) == ("True", "FewSteps")
    assert prepared.message == (
        f"data and model are ready for run {PREPARED.run}, of 12 optimizer steps only: little may be learnt "
        "(spec.training.epochs)"
    )
