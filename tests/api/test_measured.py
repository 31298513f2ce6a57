from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Metrics


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_write_is_not_said(loss: float) -> None:
    assert Metrics(test_loss=loss, train_loss=1.5).to_json() == {"trainLoss": 1.5}


def test_an_overflowing_number_of_a_foreign_trainer_does_not_reach_a_status() -> None:
    words = '{"stage": "Train", "attempt": 1, "activity": "Training", "loss": NaN, "tokensPerSecond": 1e999}'
    assert Progress.model_validate_json(words, by_alias=True, by_name=False) == Progress(
        stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING
    )


@pytest.mark.parametrize("step", [2**53, 10**30, -1])
def test_a_count_that_the_api_server_would_refuse_is_none(step: int) -> None:
    words = f'{{"stage": "Train", "attempt": 1, "activity": "Training", "step": {step}}}'
    with pytest.raises(ValidationError, match="step"):
        Progress.model_validate_json(words, by_alias=True, by_name=False)


def test_progress_is_told_in_as_many_digits_as_people_read() -> None:
    progress = Progress(
        stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, loss=9.423892656962076, learning_rate=2.98390844e-07
    )
    assert (progress.loss, progress.learning_rate) == (9.42389, 2.98391e-07)
