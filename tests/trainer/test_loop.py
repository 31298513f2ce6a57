import hashlib
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from encoded import Encoded
from finetune_api.result import Resolved
from finetune_api.spec import EarlyStopping, LoRA, Precision, Training
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41, 17, 33, 8, 12, 50, 26, 19, 44, 7, 28, 11, 38, 16, 23, 55]


class Saved:
    """Checkpoints that are only remembered."""

    busy = False
    skipped = ()

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.finished = False

    def poll(self) -> None: ...

    def save(self, step: int, state: Any, *, best_step: int | None = None) -> None:
        self.steps.append(step)

    def finish(self) -> None:
        self.finished = True

    def roll_back(self, suspects: range, reason: str) -> Any:
        raise NotImplementedError

    def restore(self, step: int) -> None:
        raise NotImplementedError


class Killed(Exception):
    """Stands for the end of the process: nothing is said or saved any more."""


def train(folder: str, **run: Any):
    """What a gang saw of one run, and how that ended."""
    (seen,) = train_all(folder, [run])
    return seen


def train_all(folder: str, runs: list[dict[str, Any]]):
    """The same of several runs, one after the other; those with one `store` go on with each other's."""
    import os

    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        return [_train(gang, folder, **run) for run in runs]


def _train(
    gang: Any,
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
    poison: dict[str, Any] | None = None,
    validation_losses: dict[str, float] | None = None,
    patience: int | None = None,
    store: str | None = None,
    skip: list[int] | None = None,
    killed_after: int = 10**9,
):
    """One run.

    Args:
        stop: the step at which a rank is told to stop.
        poison: see `_poison`.
        validation_losses: by step, 1.5 where not given.
        patience: of early stopping by the loss.
        store: where its checkpoints lie, of which nine are kept; none by default.
        skip: first and last step that are known to be left out.
        killed_after: the step that it does not survive.
    """
    from contextlib import nullcontext
    from datetime import UTC, datetime

    from finetune_api.spec import ActivationCheckpointing
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.checkpoint.checkpointer import Checkpointer
    from finetune_trainer.checkpoint.commit import open_run
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.history import History, Score
    from finetune_trainer.loop import Course, Surroundings, history_of, state_of
    from finetune_trainer.loop import train as run
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import accumulation
    from finetune_trainer.storage.files import FileStorage
    from finetune_trainer.telemetry import Telemetry

    training = Training(
        epochs=50,
        learning_rate=rate,
        sequence_length=64,
        seed=3,
        warmup_steps=2,
        gradient_clip=0.5,
        early_stopping=None if patience is None else EarlyStopping(patience=patience),
    )
    division = Division(
        zero_stage=zero_stage,
        micro_batch_size=micro_batch_size,
        micro_steps=accumulation(4, world_size=gang.world_size, micro_batch_size=micro_batch_size),
    )
    settings: Any = {"training": training, "precision": Precision(precision), "division": division}
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4, alpha=8, dropout=dropout), target_modules=("q_proj", "down_proj")),
        seed=3,
        precision=Precision(precision),
        computation=Computation(
            activation_checkpointing=ActivationCheckpointing.FULL if checkpointing else ActivationCheckpointing.NONE
        ),
        device=gang.device,
        room=room_of(gang, **settings),
        head=language.HEAD,
    )
    engine = make_engine(model, gang, **settings)
    engine.train()
    _poison(model, **(poison or {}))
    saved, clock, asked = Saved(), count(step=tick), count(1)
    checkpoints: Any = saved
    history, done = History(), 0
    if store:
        mine = None
        if gang.rank == 0:
            mine = open_run(FileStorage(), store, owner="uid", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        scratch = Path(store.removeprefix("file://")).parent / "scratch"
        checkpoints = Checkpointer(engine, gang, FileStorage(), mine, scratch=scratch, keep_last=9)
        if (found := checkpoints.load()) is None:
            checkpoints.save(0, state_of(history, Telemetry()))
        if skip:
            found = checkpoints.roll_back(range(skip[0], skip[1] + 1), "known")
        if found is not None:
            done, history = found[0], history_of(found[1], checkpoints.skipped)
    stop_at = (stop or {}).get(str(gang.rank), 10**9)
    course = Course(
        training=training,
        resolved=Resolved(
            total_steps=steps,
            steps_per_epoch=2,
            global_batch_size=4,
            warmup_steps=2,
            learning_rate=rate,
            precision=Precision(precision),
            target_modules=("q_proj", "down_proj"),
        ),
        division=division,
        validate_every=5,
        checkpoint_seconds=10,
    )

    def report(_batch: Any, _tokens: int, history: Any, seconds: Any) -> None:
        assert len(seconds) == gang.world_size
        assert all(of_rank > 0 for of_rank in seconds)
        if history.last.step == killed_after:
            raise Killed

    def validate() -> Any:
        return Score(loss=(validation_losses or {}).get(str(model.in_flight.step), 1.5), accuracy=0.0)

    at = Surroundings(
        gang=gang,
        checkpoints=checkpoints,
        clock=lambda: next(clock),
        stopping=lambda: next(asked) >= stop_at,
        validate=validate,
        beat=lambda: None,
        waiting=nullcontext,
        report=report,
        telemetry=Telemetry,
    )
    ended = None
    try:
        history = run(engine, Encoded.random(LENGTHS, vocab_size=8), course, at, done=done, history=history)
    except StageFailed as failure:
        ended = [failure.exit_code, failure.failure.reason, failure.failure.field]
    except Killed:
        ended = ["killed"]
    if store:
        checkpoints.finish()
    return {
        "from": done,
        "steps": [point.step for point in history.points],
        "losses": [point.loss for point in history.points],
        "norms": [point.gradient_norm for point in history.points],
        "rates": [point.learning_rate for point in history.points],
        "validated": [validation.step for validation in history.validations],
        "best": None if history.best is None else history.best.step,
        "skipped": [[skipped.first, skipped.last] for skipped in history.skipped],
        "saved": saved.steps,
        "finished": saved.finished,
        "ended": ended,
        "weights": _digest(model),
    }


def _digest(model: Any) -> str:
    content = b"".join(
        parameter.detach().float().numpy().tobytes() for parameter in model.parameters() if parameter.requires_grad
    )
    return hashlib.sha256(content).hexdigest()


def _poison(model: Any, loss: float = 1.0, gradient: float = 1.0, steps: tuple[int, ...] = ()) -> None:
    """What the loss and the gradients of these steps are multiplied by."""

    def factor(of_them: float) -> float:
        return of_them if model.in_flight.step in steps else 1.0

    model.register_forward_hook(lambda _module, _given, summed: summed * factor(loss) if model.training else summed)
    parameter = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    parameter.register_hook(lambda found: found * factor(gradient))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of one layer: what a loop does with its steps is the same for any number of them."""
    return str(tiny_model(tmp_path_factory.mktemp("model"), num_layers=1))


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


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "case",
    [
        {"poison": {"loss": NAN, "steps": [14]}, "zero_stage": 3},
        {"poison": {"gradient": INFINITE, "steps": [14]}, "precision": "BFloat16", "zero_stage": 1},
        {"poison": {"gradient": NAN, "steps": [14]}, "precision": "BFloat16"},
        {"validation_losses": {"15": NAN}},
    ],
    ids=str,
)
def test_a_run_that_goes_wrong_is_bit_by_bit_one_that_has_left_out_the_steps_that_led_there(
    preloaded, folder, tmp_path, case
):
    """Whatever checkpoints there are: what lies between the one gone back to and those steps is taken again."""
    wrong = 15 if "validation_losses" in case else 14
    how = {name: value for name, value in case.items() if name in ("precision", "zero_stage")}
    told = {**how, "skip": [wrong - 9, wrong], "store": f"file://{tmp_path}/told"}
    runs = [told, {**case, "store": f"file://{tmp_path}/few"}, {**case, "store": f"file://{tmp_path}/many", "tick": 6}]
    first, second = preloaded.run(train_all, world_size=2, folder=folder, runs=runs)
    assert first == second
    assert first[0] == first[1] == first[2]
    assert first[0]["steps"] == [*range(1, wrong - 9), *range(wrong + 1, 21)]
    assert first[0]["skipped"] == [[wrong - 9, wrong]]
    assert first[0]["ended"] is None


def test_a_loss_that_stays_high_counts_as_gone_wrong_and_what_is_left_out_may_be_the_end(preloaded, folder, tmp_path):
    spike = {"poison": {"loss": 20.0, "steps": list(range(26, 31))}, "steps": 30, "store": f"file://{tmp_path}/run"}
    (seen,) = preloaded.run(train, folder=folder, **spike)
    assert (seen["ended"], seen["skipped"], seen["steps"]) == (None, [[21, 30]], list(range(1, 21)))
    assert seen["validated"] == [5, 10, 15, 20]


def test_a_step_that_becomes_the_last_is_validated_when_training_goes_back_to_that_very_one(
    preloaded, folder, tmp_path
):
    wrong = {"poison": {"loss": NAN, "steps": [21]}, "steps": 21, "tick": 10, "store": f"file://{tmp_path}/run"}
    (seen,) = preloaded.run(train, folder=folder, **wrong)
    assert (seen["skipped"], seen["steps"][-1], seen["validated"]) == ([[12, 21]], 11, [5, 10, 11])


def test_what_is_left_out_stays_so_when_the_gang_ends_before_it_has_saved_again(preloaded, folder, tmp_path):
    once = {"poison": {"loss": NAN, "steps": [14]}, "tick": 6}
    killed = {**once, "store": f"file://{tmp_path}/killed", "killed_after": 16}
    whole, *parts = preloaded.run(
        train_all,
        folder=folder,
        runs=[{**once, "store": f"file://{tmp_path}/whole"}, killed, {**killed, "killed_after": 10**9}],
    )[0]
    assert parts[0]["ended"] == ["killed"]
    assert 0 < parts[1].pop("from") <= 16
    assert whole.pop("from") == 0
    assert parts[1] == whole


def test_a_run_that_goes_wrong_again_ends_and_says_which_field_to_change_at_every_start(preloaded, folder, tmp_path):
    twice = {"poison": {"loss": NAN, "steps": [14, 17]}, "tick": 6, "store": f"file://{tmp_path}/run"}
    answers = preloaded.run(train_all, world_size=2, folder=folder, runs=[twice, twice])
    ended = [69, "Diverged", "spec.training.learningRate"]
    assert [[one["ended"] for one in answer] for answer in answers] == [[ended] * 2] * 2


def test_a_model_that_is_broken_from_the_start_ends_so_and_is_never_what_was_there_before(preloaded, folder, tmp_path):
    def broken(steps: int) -> dict[str, Any]:
        poison = {"gradient": INFINITE, "steps": list(range(21))}
        return {"poison": poison, "steps": steps, "store": f"file://{tmp_path}/{steps}"}

    (seen,) = preloaded.run(train_all, folder=folder, runs=[broken(20), broken(1), broken(1)])
    assert [run["ended"] for run in seen] == [[69, "Diverged", "spec.training.learningRate"]] * 3


LOSSES = {"5": 3.0, "10": 2.0, "15": 1.0, "20": 1.5, "25": 1.0, "30": 0.5}


def test_when_validations_get_no_better_the_weights_of_the_best_are_there_in_the_end_wherever_a_run_was_killed(
    preloaded, folder, tmp_path
):
    watched = {"validation_losses": LOSSES, "patience": 2, "steps": 40, "tick": 4, "dropout": 0.1}
    runs = [{"steps": 40, "dropout": 0.1, "stop": {"0": 15, "1": 15}}, {**watched, "store": f"file://{tmp_path}/whole"}]
    for step in (7, 15, 25):
        store = f"file://{tmp_path}/{step}"
        runs += [{**watched, "store": store, "killed_after": step}, {**watched, "store": store}]
    # Once more: it has ended, and only its best weights are put back.
    runs.append(runs[-1])
    first, second = preloaded.run(train_all, world_size=2, folder=folder, runs=runs)
    assert first == second
    plain, whole, *parts = first
    assert (whole["validated"], whole["best"], whole["steps"][-1]) == ([5, 10, 15, 20, 25], 15, 25)
    assert whole["weights"] == plain["weights"]
    del whole["from"]
    for seen in (*parts[1::2], parts[-1]):
        assert 0 < seen.pop("from") <= 25
        assert seen == whole
