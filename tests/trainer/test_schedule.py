import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.spec import Schedule
from finetune_trainer.schedule import learning_rate


@pytest.mark.parametrize("schedule", Schedule)
def test_every_schedule_warms_up_linearly_to_its_peak(schedule):
    rates = [
        learning_rate(s, peak=4.0, warmup_steps=4, decay_steps=0, total_steps=9, schedule=schedule) for s in range(1, 5)
    ]
    assert rates == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Schedule.LINEAR, [4 * 2 / 3, 4 / 3]),
        (Schedule.COSINE, [3.0, 1.0]),
        (Schedule.CONSTANT, [4.0, 4.0]),
    ],
)
def test_after_the_peak_the_rate_follows_its_schedule_and_stays_above_zero(schedule, rates):
    found = [
        learning_rate(s, peak=4.0, warmup_steps=1, decay_steps=0, total_steps=3, schedule=schedule) for s in (2, 3)
    ]
    assert found == pytest.approx(rates)


def test_a_stable_rate_decays_over_the_last_steps_only_and_stays_above_zero():
    rates = [
        learning_rate(s, peak=4.0, warmup_steps=2, decay_steps=3, total_steps=8, schedule=Schedule.WARMUP_STABLE_DECAY)
        for s in range(1, 9)
    ]
    assert rates == [2.0, 4.0, 4.0, 4.0, 4.0, 3.0, 2.0, 1.0]


@given(st.sampled_from(Schedule), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.floats(1e-6, 1))
def test_every_rate_lies_between_zero_and_the_peak_and_none_rises_after_it(schedule, warmup, stable, decay, peak):
    total = max(1, warmup + stable + decay)
    rates = [
        learning_rate(s, peak=peak, warmup_steps=warmup, decay_steps=decay, total_steps=total, schedule=schedule)
        for s in range(1, total + 1)
    ]
    assert all(0 < rate <= peak * (1 + 1e-9) for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[max(0, warmup - 1) :] == sorted(rates[max(0, warmup - 1) :], reverse=True)


def test_a_run_may_be_all_warm_up():
    assert learning_rate(2, peak=1.0, warmup_steps=2, decay_steps=0, total_steps=2, schedule=Schedule.COSINE) == 1.0


def test_a_warm_up_that_is_longer_than_the_run_never_reaches_its_peak():
    assert learning_rate(3, peak=1.0, warmup_steps=10, decay_steps=0, total_steps=3, schedule=Schedule.COSINE) == 0.3
