from finetune_api.result import Metrics
from finetune_trainer.history import MAX_POINTS, History, Point, Score


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


def test_metrics_are_what_was_measured_last():
    history = (
        after(2).with_validation(1, Score(loss=3.0, accuracy=0.2)).with_validation(2, Score(loss=2.5, accuracy=0.3))
    )
    history = history.model_copy(update={"base_test": Score(loss=4.0, accuracy=0.1)})
    assert history.metrics == Metrics(
        base_test_loss=4.0, base_test_accuracy=0.1, test_loss=None, validation_loss=2.5, train_loss=0.5
    )
    assert History().metrics == Metrics()
