from finetune_trainer.pace import Pace


def test_nothing_is_promised_before_the_first_step():
    pace = Pace(now=5)
    assert (pace.tokens_per_second, pace.seconds_left(10)) == (None, None)


def test_speed_and_time_left_come_from_the_steps_so_far():
    pace = Pace(now=0)
    pace.step_ended(2, 100, None)
    pace.step_ended(4, 300, None)
    assert pace.tokens_per_second == 100
    assert pace.seconds_left(10) == 20


def test_only_the_latest_steps_count():
    pace = Pace(now=0)
    pace.step_ended(1000, 1, None)
    for step in range(20):
        pace.step_ended(1001 + step, 10, None)
    assert pace.tokens_per_second == 10


def test_a_utilisation_is_the_time_at_peak_over_the_time_it_took():
    pace = Pace(now=0)
    assert pace.utilisation is None
    pace.step_ended(2, 100, 1.0)
    pace.step_ended(4, 100, 0.6)
    assert pace.utilisation == 0.4


def test_without_a_known_peak_there_is_no_utilisation():
    pace = Pace(now=0)
    pace.step_ended(2, 100, None)
    assert pace.utilisation is None
