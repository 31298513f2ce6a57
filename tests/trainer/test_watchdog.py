import pytest

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_trainer.watchdog import Watchdog


def progress(activity: Activity = Activity.TRAINING, step: int = 0) -> Progress:
    return Progress(stage=Stage.TRAIN, attempt=1, activity=activity, step=step)


def trained(seconds_per_step: float, steps: int = 10) -> Watchdog:
    """Has heard so many steps; the last at time 0."""
    watchdog = Watchdog(-1e6)
    for step in range(steps + 1):
        watchdog.heard(progress(step=step), beat=step, now=(step - steps) * seconds_per_step)
    return watchdog


@pytest.mark.parametrize(("seconds_per_step", "patience"), [(0.1, 60), (12, 60), (30, 150)])
def test_patience_is_five_steps_and_at_least_a_minute(seconds_per_step, patience):
    watchdog = trained(seconds_per_step)
    assert watchdog.patience == patience
    assert watchdog.complaint(patience) is None
    assert watchdog.complaint(patience + 1) == f"silent for {patience + 1} s, last heard Training at step 10"


def test_a_sign_of_life_within_a_step_is_heard():
    watchdog = trained(1)
    watchdog.heard(progress(step=10), beat=999, now=59)
    assert watchdog.complaint(118) is None


def test_the_same_beat_again_is_silence():
    watchdog = trained(1)
    watchdog.heard(progress(step=10), beat=10, now=59)
    assert watchdog.complaint(61) is not None


def test_one_slow_step_does_not_change_what_is_usual():
    watchdog = trained(1)
    watchdog.heard(progress(step=11), beat=11, now=50)
    assert watchdog.patience == 60


@pytest.mark.parametrize("activity", [Activity.STARTING, Activity.PUBLISHING])
def test_what_has_no_rhythm_gets_ten_minutes(activity):
    watchdog = trained(1)
    watchdog.heard(progress(activity, step=10), beat=99, now=0)
    assert watchdog.complaint(600) is None
    assert watchdog.complaint(601) is not None


def test_the_first_step_may_take_long():
    watchdog = Watchdog(0)
    watchdog.heard(progress(step=0), beat=1, now=10)
    assert watchdog.complaint(600) is None


def test_a_rank_that_never_speaks_is_given_up():
    assert Watchdog(0).complaint(601) == "nothing heard for 601 s after its start"
