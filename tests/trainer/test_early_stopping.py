"""When validations say that it is enough."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.spec import EarlyStopping, Watched
from finetune_trainer.early_stopping import is_over, judged
from finetune_trainer.history import History, Score


def after(losses: Sequence[float], watched: Watched = Watched.LOSS, history: History | None = None) -> History:
    """Validations ten steps apart; the better the loss the worse accuracy and F1, so that what is watched shows."""
    history = history or History()
    begun = 0 if history.last_validation is None else history.last_validation.step
    for number, loss in enumerate(losses, 1):
        score = Score(loss=loss, accuracy=loss / 10, macro_f1=loss / 20)
        history = judged(history.with_validation(begun + 10 * number, score), watched)
    return history


def stops_after(losses: list[float], rule: EarlyStopping) -> int:
    """Number of the validation that ends training; that of all where none does."""
    return next((end for end in range(1, len(losses) + 1) if is_over(after(losses[:end]), rule)), len(losses))


@pytest.mark.parametrize(("watched", "step"), [(Watched.LOSS, 20), (Watched.ACCURACY, 10), (Watched.MACRO_F1, 10)])
def test_the_best_is_the_lowest_loss_or_the_highest_of_the_others(watched: Watched, step: int) -> None:
    assert after([3.0, 1.0, 2.0], watched).published_step == step


def test_of_equals_the_earliest_is_the_best() -> None:
    assert after([2.0, 1.0, 1.0, 1.0]).published_step == 20
    assert after([]).best is None


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
    rule = EarlyStopping(patience=patience)
    cut = data.draw(st.integers(1, len(losses)))
    resumed = after(losses[cut:], history=History.parse(after(losses[:cut]).to_json()))
    assert resumed == after(losses)
    assert is_over(resumed, rule) == is_over(after(losses), rule)
