"""What is said of answers, against the definitions of the measures."""

from __future__ import annotations

import pytest

from finetune_trainer.likeness import likeness


def test_answers_as_expected_are_as_good_as_can_be() -> None:
    found = likeness([" Yes. ", "Ça va?"], ["Yes.", "Ça va?"])
    assert (found.rows, found.exact_match, found.rouge_l) == (2, 1, 1)
    assert likeness(["Yes."], ["Yes."]).chrf == pytest.approx(100)


def test_nothing_in_common_is_worth_nothing() -> None:
    found = likeness(["", "no"], ["yes", "12"])
    assert (found.exact_match, found.rouge_l, found.chrf) == (0, 0, 0)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_of_words() -> None:
    # Lin (2004), section 3.1: police killed the gunman against police kill the gunman, and the gunman kill police.
    assert likeness(["police kill the gunman"], ["Police killed the gunman"]).rouge_l == pytest.approx(3 / 4)
    assert likeness(["the gunman kill police"], ["police killed the gunman"]).rouge_l == pytest.approx(2 / 4)
    # Precision 2/2, recall 2/6.
    assert likeness(["cat mat"], ["the cat sat on the mat"]).rouge_l == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))


def test_words_are_those_of_every_script() -> None:
    assert likeness(["Привет, МИР!"], ["привет мир"]).rouge_l == 1


def test_chrf_weighs_recall_of_characters_twice() -> None:
    # One character: only n = 1 counts. "ab" against "a": precision 1/2, recall 1: 5 · ½ · 1 / (4 · ½ + 1).
    assert likeness(["ab"], ["a"]).chrf == pytest.approx(100 * 5 * 0.5 / (4 * 0.5 + 1))
