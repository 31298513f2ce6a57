"""What is a spike, and what is only noise."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_trainer.divergence import (
    LEAST_REFERENCE,
    LEAST_RISE,
    PATIENCE,
    REMEMBERED,
    SUSPECTS,
    Diverged,
    is_spike,
    refuse_divergence,
)

losses = st.floats(0, 20)


def steps_with_alarm(measured: NDArray[np.float64]) -> list[int]:
    known = measured.tolist()
    return [step for step in range(1, len(known) + 1) if is_spike(known[max(0, step - REMEMBERED) : step])]


def warming_up(steps: int, seed: int) -> NDArray[np.float64]:
    """Losses of a run that learns quickly at first, of small batches whose difficulty varies by a factor."""
    random = np.random.default_rng(seed)
    level = 0.8 + 2.0 * np.exp(-np.arange(steps) / 30)
    return level * random.lognormal(0, 0.5, steps)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_small_batches_raises_no_alarm_from_the_first_step_of_warm_up_on(seed: int) -> None:
    assert steps_with_alarm(warming_up(2000, seed)) == []


@pytest.mark.parametrize("level", [1e-5, 0.01, 0.1])
def test_where_nearly_all_is_learnt_batches_that_are_not_raise_no_alarm(level: float) -> None:
    measured = np.full(300, level)
    measured[200:210] = LEAST_RISE
    assert steps_with_alarm(measured) == []


@pytest.mark.parametrize("start", [60, 150, 1900])
def test_a_loss_that_stays_high_raises_the_alarm_after_five_steps(start: int) -> None:
    measured = warming_up(2000, seed=0)
    measured[start:] = 9.0
    assert steps_with_alarm(measured)[0] == start + PATIENCE


def test_a_spike_that_heals_by_itself_raises_no_alarm() -> None:
    measured = warming_up(1000, seed=0)
    measured[500 : 500 + PATIENCE - 1] = 12.0
    assert steps_with_alarm(measured) == []


@given(st.lists(losses, max_size=LEAST_REFERENCE + PATIENCE - 1))
def test_too_few_losses_never_raise_an_alarm(few: list[float]) -> None:
    assert not is_spike(few)


@given(st.lists(losses, min_size=REMEMBERED, max_size=REMEMBERED), st.lists(losses, max_size=50))
def test_only_the_latest_losses_decide(latest: list[float], earlier: list[float]) -> None:
    assert is_spike([*earlier, *latest]) == is_spike(latest)


@given(st.lists(losses, min_size=LEAST_REFERENCE + PATIENCE, max_size=REMEMBERED))
def test_however_even_the_losses_were_a_rise_of_half_a_nat_is_none(measured: list[float]) -> None:
    middle = median(measured[:-PATIENCE])
    assert not is_spike([*measured[:-1], middle + LEAST_RISE])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused_with_the_field_to_change_and_the_steps_that_led_there(value: float) -> None:
    with pytest.raises(Diverged, match="no longer finite at step 25") as refused:
        refuse_divergence(25, (), 1.0, value)
    assert (refused.value.exit_code, refused.value.failure.field) == (ExitCode.DIVERGED, "spec.training.learningRate")
    assert refused.value.suspects == range(25 - SUSPECTS + 1, 26)
    assert Diverged(3, "the loss").suspects == range(1, 4)


def test_a_spike_is_refused_in_numbers() -> None:
    with pytest.raises(Diverged, match=r"the loss has risen from about 1\.5 to 8 at step 30"):
        refuse_divergence(30, [1.5] * 25 + [8.0] * 5, 8.0, None)
    refuse_divergence(30, [1.5] * 26 + [8.0] * 4, 8.0, None)
