import json
import logging
import sys

import pytest

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_trainer.log_lines import SECONDS, JsonLine, ProgressLines


def progress(step: int, **changes) -> Progress:
    return Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=step).model_copy(update=changes)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    return [json.loads(JsonLine().format(record)) for record in caplog.records]


def test_a_line_is_one_json_object_with_time_level_message_and_fields(caplog):
    caplog.set_level(logging.INFO, logger="finetune_trainer")
    ProgressLines(lambda: 100.0)(progress(7, loss=1.5))
    (line,) = lines(caplog)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "message": "training", "stage": "Train", "attempt": 1, "step": 7, "loss": 1.5}


def test_steps_are_told_now_and_then_and_news_at_once(caplog):
    caplog.set_level(logging.INFO, logger="finetune_trainer")
    now = [100.0]
    tell = ProgressLines(lambda: now[0])
    tell(progress(1))
    for step in (2, 3):
        now[0] += SECONDS / 4
        tell(progress(step))
    tell(progress(4, checkpoint_step=4))
    tell(progress(5, checkpoint_step=4, validation_loss=2.0))
    now[0] += SECONDS
    tell(progress(6, checkpoint_step=4, validation_loss=2.0))
    assert [line["step"] for line in lines(caplog)] == [1, 4, 5, 6]


def test_a_trace_stays_on_its_line():
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "crashed", (), sys.exc_info())
    text = JsonLine().format(record)
    assert "\n" not in text
    assert json.loads(text)["trace"].endswith("ValueError: a\nb")
