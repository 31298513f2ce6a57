from finetune_api.result import Metrics
from finetune_trainer.checkpoint.layout import Skipped
from finetune_trainer.divergence import REMEMBERED
from finetune_trainer.history import MAX_POINTS, MAX_VALIDATIONS, History, Point, Score


def after(steps: int) -> History:
    history = History()
    for step in range(1, steps + 1):
        point = Point(step=step, loss=1 / step, learning_rate=1e-4, gradient_norm=0.5)
        history = history.with_point(point)
    return history


def test_it_comes_back_from_json_as_it_was():
    history = after(3).with_validation(3, Score(loss=0.1 + 0.2, accuracy=0.5, figures={"margin": 0.1}))
    history = history.model_copy(update={"base_test": Score(loss=4.0, accuracy=0.1), "samples": ()})
    assert History.parse(history.to_json()) == history


def test_a_long_run_keeps_evenly_spaced_points_and_the_last_loss():
    history = after(3 * MAX_POINTS + 1)
    steps = [point.step for point in history.points]
    assert len(steps) <= MAX_POINTS
    assert steps == list(range(history.every, 3 * MAX_POINTS + 2, history.every))
    assert history.metrics.train_loss == 1 / (3 * MAX_POINTS + 1)


def test_a_long_run_keeps_few_validations_and_knows_the_last_and_the_best_all_the_same():
    history = History()
    for number in range(1, 3 * MAX_VALIDATIONS + 2):
        history = history.with_validation(50 * number, Score(loss=abs(number - 701), accuracy=0.5))
        history = history.with_best() if number == 701 else history
        assert len(history.validations) <= MAX_VALIDATIONS
    assert [kept.step for kept in history.validations] == list(range(200, 50 * 3 * MAX_VALIDATIONS + 1, 200))
    assert history.validation_loss == 3 * MAX_VALIDATIONS + 1 - 701
    assert (history.best.step, history.since_best) == (50 * 701, 3 * MAX_VALIDATIONS + 1 - 701)


def test_metrics_are_what_was_measured_last():
    history = (
        after(2).with_validation(1, Score(loss=3.0, accuracy=0.2)).with_validation(2, Score(loss=2.5, accuracy=0.3))
    )
    history = history.model_copy(update={"base_test": Score(loss=4.0, accuracy=0.1)})
    assert history.metrics == Metrics(
        base_test_loss=4.0, base_test_accuracy=0.1, test_loss=None, validation_loss=2.5, train_loss=0.5
    )
    assert History().metrics == Metrics()


def test_the_latest_losses_are_kept_of_every_step():
    history = after(3 * MAX_POINTS + 1)
    assert history.recent == tuple(1 / step for step in range(3 * MAX_POINTS + 2 - REMEMBERED, 3 * MAX_POINTS + 2))


def test_metrics_are_of_the_weights_that_are_published():
    history = after(5)
    assert (history.published_step, history.metrics.validation_loss) == (5, None)
    for step, loss in ((2, 3.0), (4, 2.5), (5, 2.9)):
        history = history.with_validation(step, Score(loss=loss, accuracy=0.0))
        if loss == 2.5:
            history = history.with_best()
    assert (history.published_step, history.metrics.validation_loss, history.validation_loss) == (4, 2.5, 2.9)


def test_both_ends_of_what_is_left_out_are():
    history = History(skipped=(Skipped(first=3, last=5, reason="a spike"), Skipped(first=9, last=9, reason="a spike")))
    assert [step for step in range(1, 11) if history.skips(step)] == [3, 4, 5, 9]
