"""When validations say that it is enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.spec import EarlyStopping, Watched
from finetune_trainer.early_stopping import best_of, is_over
from finetune_trainer.history import Validation


def validations(*losses: float) -> list[Validation]:
    """Ten steps apart; the better the loss the worse accuracy and F1, so that what is watched shows."""
    return [
        Validation(step=10 * number, loss=loss, accuracy=loss / 10, macro_f1=loss / 20)
        for number, loss in enumerate(losses, 1)
    ]


def stops_after(losses: list[float], rule: EarlyStopping) -> int:
    """Number of the validation that ends training; that of all where none does."""
    known = validations(*losses)
    return next((number for number in range(1, len(known) + 1) if is_over(known[:number], rule)), len(known))


@pytest.mark.parametrize(("watched", "step"), [(Watched.LOSS, 20), (Watched.ACCURACY, 10), (Watched.MACRO_F1, 10)])
def test_the_best_is_the_lowest_loss_or_the_highest_of_the_others(watched: Watched, step: int) -> None:
    best = best_of(validations(3.0, 1.0, 2.0), watched)
    assert best is not None
    assert best.step == step


def test_of_equals_the_earliest_is_the_best() -> None:
    best = best_of(validations(2.0, 1.0, 1.0, 1.0), Watched.LOSS)
    assert best is not None
    assert best.step == 20
    assert best_of([], Watched.LOSS) is None


@pytest.mark.parametrize(
    ("losses", "patience", "stops"),
    [
        ([5.0, 4.0, 3.0], 1, 3),
        ([5.0, 4.0, 4.0, 3.0], 1, 3),
        ([5.0, 4.0, 4.5, 3.0, 3.5, 3.6, 1.0], 2, 6),
        ([1.0, 2.0, 2.0], 3, 3),
    ],
)
def test_training_ends_when_so_many_in_a_row_were_no_better(losses: list[float], patience: int, stops: int) -> None:
    assert stops_after(losses, EarlyStopping(patience=patience)) == stops


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 5))
def test_what_was_the_best_when_training_ended_was_followed_by_patience_that_were_no_better(
    losses: list[float], patience: int
) -> None:
    stops = stops_after(losses, EarlyStopping(patience=patience))
    best = losses.index(min(losses[:stops]))
    assert stops == len(losses) or stops == best + 1 + patience


@given(st.lists(st.floats(0, 10), min_size=2, max_size=20), st.integers(1, 5), st.data())
def test_a_resume_decides_as_if_nothing_had_happened(losses: list[float], patience: int, data: st.DataObject) -> None:
    """The decision is of what a checkpoint holds alone."""
    rule, known = EarlyStopping(patience=patience), validations(*losses)
    cut = data.draw(st.integers(1, len(known)))
    resumed = [Validation.parse(each.to_json()) for each in known[:cut]] + known[cut:]
    assert is_over(resumed, rule) == is_over(known, rule)
