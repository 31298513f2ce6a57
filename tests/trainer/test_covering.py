"""Every ZeRO stage with every task, on two ranks; every stage and method, and every task, interrupted at a random step.

What was interrupted is finished by another number of ranks. One that prefers goes on from what another has learnt. The
whole product is a benchmark's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pytest

import plain_process
from preloaded import Preloaded
from training_cases import INTERRUPTED, LESSONS, METHODS, Case, Outcome, carry_through

SUPERVISED = Case(2, "LoRA", "Instruction", steps=2)
ALIGNED = Case(2, "LoRA", "Preference", steps=2)
"""Goes on from the former."""
UNDISTURBED = (
    SUPERVISED,
    ALIGNED,
    Case(1, "LoRA", "Completion", steps=2),
    Case(1, "Full", "MultiLabel", steps=2),
    Case(1, "LoRA", "Preference", steps=2),
    Case(2, "Full", "Classification", steps=2),
    Case(3, "LoRA", "Instruction", steps=2),
    Case(3, "Full", "Completion", steps=2),
    Case(3, "LoRA", "MultiLabel", steps=2),
)
DISTURBED = (
    Case(1, "Full", "Instruction", finished=1),
    Case(1, "LoRA", "Classification", finished=3),
    Case(2, "LoRA", "Completion", finished=1),
    Case(2, "Full", "MultiLabel", finished=3),
    Case(3, "Full", "Classification", finished=3),
    Case(3, "LoRA", "Preference", finished=1),
)


@pytest.fixture(scope="module")
def outcomes(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Case, Outcome]:
    home, dice = tmp_path_factory.mktemp("covering"), random.Random()
    stopped = {case: replace(case, stop_after=dice.randint(1, case.steps - 2)) for case in DISTURBED}
    found: dict[Case, Outcome] = {}
    for case in (*UNDISTURBED, *DISTURBED):
        initial = found[SUPERVISED].model if case == ALIGNED else None
        found[case] = carry_through(preloaded, home, stopped.get(case, case), initial=initial)
    return found


def test_every_pair_is_covered() -> None:
    assert {(case.stage, case.lesson) for case in (*UNDISTURBED, *DISTURBED)} == set(product((1, 2, 3), LESSONS))
    assert {(case.stage, case.method) for case in DISTURBED} == set(product((1, 2, 3), METHODS))
    assert {case.lesson for case in DISTURBED} == set(LESSONS)


@pytest.mark.parametrize("case", DISTURBED, ids=str)
def test_an_interrupted_gang_leaves_a_checkpoint_that_another_number_of_ranks_finishes(
    outcomes: Mapping[Case, Outcome], case: Case
) -> None:
    outcome = outcomes[case]
    words = str(outcome.case)

    assert (outcome.stopped, outcome.codes) == ((INTERRUPTED,) * 2, (0,) * case.finished), words
    assert outcome.stopped_at is not None, words
    assert 1 <= outcome.stopped_at < outcome.published.step == case.steps, words
    assert outcome.published.epoch == 2, words


def test_what_prefers_begins_where_its_reference_is(outcomes: Mapping[Case, Outcome]) -> None:
    pairs = [outcome for case, outcome in outcomes.items() if case.lesson == "Preference"]
    begun = [outcome.published.metrics.base_test_loss for outcome in pairs]
    assert begun == pytest.approx([math.log(2)] * 3, abs=1e-6)


def test_what_is_published_computes_the_same_in_plain_transformers_and_peft(
    preloaded: Preloaded, outcomes: Mapping[Case, Outcome]
) -> None:
    told = {str(outcome.case): outcome.published.metrics.test_loss for outcome in outcomes.values()}

    plain = plain_process.losses([outcome.for_plain for outcome in outcomes.values()], preloaded)

    assert dict(zip(told, plain, strict=True)) == pytest.approx(told, abs=1e-5)
