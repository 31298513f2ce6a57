from itertools import count
from pathlib import Path
from typing import Any

import pytest

from encoded import Encoded
from finetune_api.result import Resolved
from finetune_api.spec import LoRA, Precision, Training
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41, 17, 33, 8, 12, 50, 26, 19, 44, 7, 28, 11, 38, 16, 23, 55]


class Saved:
    """Checkpoints that are only remembered."""

    busy = False

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.finished = False

    def poll(self) -> None: ...

    def save(self, step: int, state: dict[str, Any]) -> None:
        self.steps.append(step)

    def finish(self) -> None:
        self.finished = True


def train(
    folder: str,
    precision: str = "Float32",
    zero_stage: int = 2,
    micro_batch_size: int = 1,
    dropout: float = 0.0,
    steps: int = 20,
    checkpointing: bool = False,
    rate: float = 1e-2,
    tick: float = 0.0,
    stop: dict[str, int] | None = None,
    poison: str | None = None,
    validation_loss: str = "1.5",
):
    """What a gang saw and how it ended. `stop`: the step at which a rank is told to stop."""
    import os
    from contextlib import nullcontext

    from finetune_trainer.engine import Division, make_engine
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.gang import form_gang
    from finetune_trainer.history import History, Score
    from finetune_trainer.loop import Course, Surroundings
    from finetune_trainer.loop import train as run
    from finetune_trainer.model import Adapter, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import accumulation

    training = Training(epochs=50, learning_rate=rate, sequence_length=64, seed=3, warmup_steps=2, gradient_clip=0.5)
    with form_gang(os.environ, gpu=False) as gang:
        model = load_model(
            Path(folder),
            adapter=Adapter(
                lora=LoRA(rank=4, alpha=8, dropout=dropout), target_modules=("q_proj", "down_proj"), seed=3
            ),
            precision=Precision(precision),
            activation_checkpointing=checkpointing,
            device=gang.device,
            head=language.HEAD,
        )
        division = Division(
            zero_stage=zero_stage,
            micro_batch_size=micro_batch_size,
            micro_steps=accumulation(4, world_size=gang.world_size, micro_batch_size=micro_batch_size),
        )
        engine = make_engine(model, gang, training=training, precision=Precision(precision), division=division)
        engine.train()
        if poison:
            _poison(model, poison)
        saved, clock, asked = Saved(), count(step=tick), count(1)
        stop_at = (stop or {}).get(str(gang.rank), 10**9)
        course = Course(
            training=training,
            resolved=Resolved(
                total_steps=steps,
                steps_per_epoch=2,
                global_batch_size=4,
                warmup_steps=2,
                learning_rate=training.learning_rate or 2e-4,
                precision=Precision(precision),
                target_modules=("q_proj", "down_proj"),
            ),
            division=division,
            validate_every=5,
            checkpoint_seconds=10,
        )
        at = Surroundings(
            gang=gang,
            checkpoints=saved,
            clock=lambda: next(clock),
            stopping=lambda: next(asked) >= stop_at,
            validate=lambda: Score(loss=float(validation_loss), accuracy=0.5),
            beat=lambda: None,
            waiting=nullcontext,
            report=lambda *_: None,
        )
        ended = None
        history = History()
        try:
            history = run(engine, Encoded.random(LENGTHS, vocab_size=8), course, at, done=0, history=history)
        except StageFailed as failure:
            ended = [failure.exit_code, failure.failure.reason, failure.failure.field]
        return {
            "losses": [point.loss for point in history.points],
            "norms": [point.gradient_norm for point in history.points],
            "rates": [point.learning_rate for point in history.points],
            "validated": [validation.step for validation in history.validations],
            "saved": saved.steps,
            "finished": saved.finished,
            "ended": ended,
        }


def _poison(model: Any, what: str) -> None:
    parameter = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    if what == "loss":
        parameter.data.fill_(float("nan"))
    else:
        parameter.register_hook(lambda gradient: gradient * float("inf"))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny_model(tmp_path / "model"))


def test_training_lowers_the_loss_and_every_rank_sees_the_same(preloaded, folder):
    first, second = preloaded.run(train, world_size=2, folder=folder)
    assert first == second
    assert sum(first["losses"][-5:]) < sum(first["losses"][:5]) - 0.1
    assert first["validated"] == [5, 10, 15, 20]
    assert first["saved"] == [20]


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_the_same_gang_repeats_a_run_bit_by_bit(preloaded, folder, precision):
    runs = [preloaded.run(train, world_size=2, folder=folder, precision=precision, dropout=0.1, steps=6) for _ in "ab"]
    assert runs[0] == runs[1]


def test_another_gang_gives_the_same_run_up_to_rounding(preloaded, folder):
    (alone,) = preloaded.run(train, folder=folder, dropout=0.1)
    pair, _ = preloaded.run(train, world_size=2, folder=folder, dropout=0.1)
    wide, *_ = preloaded.run(train, world_size=2, folder=folder, dropout=0.1, micro_batch_size=2, checkpointing=True)
    for other in (pair, wide):
        assert other["losses"] == pytest.approx(alone["losses"], abs=1e-5)
        assert other["norms"] == pytest.approx(alone["norms"], rel=1e-4)


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_both_zero_stages_are_the_same_optimizer(preloaded, folder, precision):
    one, two = (
        preloaded.run(train, world_size=2, folder=folder, precision=precision, zero_stage=stage, steps=6)[0]
        for stage in (1, 2)
    )
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-5 if precision == "Float32" else 1e-3)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_run_that_diverges_says_which_field_to_change(preloaded, folder, what):
    answers = preloaded.run(train, world_size=2, folder=folder, poison=what)
    assert [answer["ended"] for answer in answers] == [[69, "Diverged", "spec.training.learningRate"]] * 2
    assert [answer["saved"] for answer in answers] == [[], []]


def test_weights_that_no_longer_predict_anything_are_never_saved(preloaded, folder):
    answers = preloaded.run(train, world_size=2, folder=folder, steps=5, validation_loss="nan")
    assert [(answer["ended"][1], answer["saved"]) for answer in answers] == [("Diverged", [])] * 2


def test_rank_0s_clock_decides_when_a_checkpoint_is_due(preloaded, folder):
    first, second = preloaded.run(train, world_size=2, folder=folder, steps=9, tick=4.0)
    assert first["saved"] == second["saved"] == [3, 6, 9]


def test_a_gang_that_is_told_to_stop_saves_first(preloaded, folder):
    answers = preloaded.run(train, world_size=2, folder=folder, stop={"0": 2, "1": 4})
    assert [(answer["saved"], answer["finished"], answer["ended"]) for answer in answers] == [
        ([4], True, [143, "Stopped", None])
    ] * 2


def test_one_rank_alone_cannot_stop_the_gang(preloaded, folder):
    first, _ = preloaded.run(train, world_size=2, folder=folder, steps=5, stop={"1": 1})
    assert (first["saved"], first["ended"]) == ([5], None)
