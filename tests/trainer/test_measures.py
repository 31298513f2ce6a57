"""What is said of a classifier's answers."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_trainer.measures import CONFIDENCE_BINS, LabelSet, Told, add_confidences, commonest, measures, prior

ONE = LabelSet(("a", "b", "c"), (6, 3, 0), 9, multi_label=False)
MANY = LabelSet(("a", "b", "c"), (8, 3, 1), 10, multi_label=True)
NONE = np.zeros((CONFIDENCE_BINS, 3))


def told(*answers: tuple[list[int], list[int]]) -> list[Told]:
    return [Told(number, truth, predicted, 0.5) for number, (truth, predicted) in enumerate(answers)]


def test_one_label_a_row() -> None:
    found = measures(told(([0], [0]), ([0], [1]), ([1], [1]), ([0], [0])), NONE, ONE)
    assert (found.rows, found.loss, found.accuracy, found.micro_f1) == (4, 0.5, 0.75, 0.75)
    assert found.confusion == ((2, 1, 0), (0, 1, 0), (0, 0, 0))
    first, second, third = found.labels
    assert (first.rows, first.precision, first.recall, first.f1) == (3, 1.0, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (second.rows, second.precision, second.recall, second.f1) == (1, 0.5, 1.0, pytest.approx(2 / 3))
    assert (third.rows, third.f1) == (0, 0.0)
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)  # nobody has or gets the third


def test_several_labels_a_row() -> None:
    found = measures(told(([0, 1], [0]), ([], []), ([1], [1, 2])), NONE, MANY)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.micro_f1 == pytest.approx(2 * 2 / (3 + 3))
    assert found.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found.confusion is None


def test_confidence_is_off_by_its_distance_from_the_truth() -> None:
    bins = NONE.copy()
    add_confidences(bins, np.array([0.95, 0.97, 0.99, 1.0]), np.array([True, True, False, True]))
    add_confidences(bins, np.array([0.5]), np.array([True]))
    found = measures(told(([0], [0])), bins, ONE)
    assert found.calibration_error == pytest.approx((abs(3.91 - 3) + 0.5) / 5)


def test_who_has_not_read_the_texts_always_says_the_commonest_label() -> None:
    found = prior(ONE, [[0], [0], [1], [2]])
    assert found.accuracy == 0.5
    chances = np.array([7, 4, 1]) / 12  # one more of each: a label that train lacks is not impossible
    assert found.loss == pytest.approx(-np.log(chances[[0, 0, 1, 2]]).mean())
    assert found.calibration_error == pytest.approx(7 / 12 - 0.5)


def test_of_several_labels_the_prior_says_those_of_more_than_half_of_the_rows() -> None:
    assert (commonest(MANY), commonest(ONE)) == ([0], [0])
    assert commonest(LabelSet(("a", "b"), (4, 5), 12, multi_label=True)) == []
    found = prior(MANY, [[0], [0, 1], []])
    assert found.accuracy == pytest.approx(1 / 3)
    chances = np.array([9, 4, 2]) / 12
    true = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert found.loss == pytest.approx(-np.log(np.where(true, chances, 1 - chances)).mean())


def test_balanced_labels_weigh_alike_in_sum() -> None:
    weights = LabelSet(("a", "b"), (30, 10), 40, multi_label=False).balance
    assert weights.tolist() == pytest.approx([40 / 60, 2.0])
    assert (weights * [30, 10]).tolist() == pytest.approx([20, 20])
    assert LabelSet(("a", "b"), (30, 10), 40, multi_label=True).balance.tolist() == pytest.approx([1 / 3, 3.0])
