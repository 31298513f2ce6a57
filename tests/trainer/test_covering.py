"""Every ZeRO stage with every method and kind of task, interrupted and finished by another number of ranks.

Each pair of stage, method and kind of task occurs once; the whole product is a benchmark's.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import plain_process
from preloaded import Preloaded
from training_cases import INTERRUPTED, Case, Outcome, carry_through

CASES = (
    Case(1, "LoRA", "Classification", finished=3),
    Case(1, "Full", "Instruction"),
    Case(2, "LoRA", "Completion"),
    Case(2, "Full", "MultiLabel", finished=3),
    Case(3, "LoRA", "Instruction", finished=1),
    Case(3, "Full", "Classification", finished=3),
)


@pytest.fixture(scope="module")
def outcomes(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Outcome]:
    home = tmp_path_factory.mktemp("covering")
    return [carry_through(preloaded, home / str(case), case) for case in CASES]


@pytest.mark.parametrize("index", range(len(CASES)), ids=list(map(str, CASES)))
def test_an_interrupted_gang_leaves_a_checkpoint_that_another_number_of_ranks_finishes(
    outcomes: Sequence[Outcome], index: int
) -> None:
    outcome = outcomes[index]
    case = outcome.case

    assert outcome.codes == ((INTERRUPTED,) * case.begun, (0,) * case.finished)
    assert outcome.stopped_at is not None
    assert case.stop_after <= outcome.stopped_at < outcome.published.step == outcome.prepared.resolved.total_steps
    assert outcome.published.epoch == 2


def test_what_is_published_computes_the_same_in_plain_transformers_and_peft(outcomes: Sequence[Outcome]) -> None:
    told = [outcome.published.metrics.test_loss for outcome in outcomes]

    assert plain_process.losses([outcome.for_plain for outcome in outcomes]) == pytest.approx(told, abs=1e-5)
