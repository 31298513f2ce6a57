import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import pods
from corpora import prepare_snapshot
from finetune_api.contract import Stage
from finetune_api.result import MicroBatch, Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.publication import read_published
from finetune_trainer.storage import open_storage
from tiny_models import tiny_model


def pod(folder: str, snapshot: dict[str, Any], fault: dict[str, Any] | None = None) -> dict[str, Any]:
    return pods.run_pod(folder, snapshot, fault)


def prepared(home: Path, **spec: Any) -> Snapshot:
    """The train stage of a small job whose prepare stage is done."""
    given: dict[str, Any] = {
        "method": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.05}},
        "training": {
            "sequenceLength": 256,
            "globalBatchSize": 4,
            "epochs": 4,
            "learningRate": 1e-2,
            "precision": "Float32",
        },
        "evaluation": {"everySteps": 10, "maxRows": 20, "generateRows": 3, "maxNewTokens": 4},
        "workers": {"nodes": 2},
        "output": {"uri": f"file://{home}/output"},
    }
    snapshot = prepare_snapshot(home, **{**given, **spec})
    scratch = home / "prepare-scratch"
    scratch.mkdir(exist_ok=True)
    found = prepare(snapshot, storage=open_storage(), scratch=scratch, report=lambda _: None, cpuinfo="")
    return snapshot.model_copy(update={"stage": Stage.TRAIN, "prepared": found})


def train(preloaded, home: Path, snapshot: Snapshot, fault: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    folder = home / f"attempt-{snapshot.attempt}"
    return preloaded.run(pod, world_size=2, folder=str(folder), snapshot=snapshot.to_json(), fault=fault)


def next_attempt(snapshot: Snapshot) -> Snapshot:
    return snapshot.model_copy(update={"attempt": snapshot.attempt + 1})


def metrics_of(published: Published) -> Any:
    return json.loads((Path(published.report_uri.removeprefix("file://")).parent / "metrics.json").read_text())


@pytest.fixture(scope="module")
def whole(preloaded, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run without faults: where it lies, and what its pods said."""
    home = tmp_path_factory.mktemp("whole")
    return home, train(preloaded, home, prepared(home))


def test_a_gang_trains_evaluates_and_publishes(whole):
    home, answers = whole
    snapshot = prepared(home)
    published = read_published(open_storage(), snapshot.spec, snapshot.prepared.run)
    assert [answer["code"] for answer in answers] == [0, 0]
    assert [answer["result"]["published"] for answer in answers] == [published.to_json()] * 2
    assert published.step == snapshot.prepared.resolved.total_steps
    assert published.metrics.test_loss < published.metrics.base_test_loss - 0.2
    samples = json.loads((Path(published.report_uri.removeprefix("file://")).parent / "samples.json").read_text())
    assert [sorted(sample) for sample in samples] == [["after", "before", "expected", "prompt"]] * 3


def test_a_gang_one_of_whose_ranks_has_too_little_memory_says_what_to_try_next(preloaded, tmp_path):
    snapshot = prepared(tmp_path, memory={"microBatchSize": 2})
    fault = {"error": "memory", "step": 1, "node": 1}
    lost, without = train(preloaded, tmp_path, snapshot, fault)
    assert (lost["code"], lost["result"]["failure"]["reason"]) == (75, "LostPeer")
    assert (without["code"], without["result"]["failure"]["reason"]) == (75, "MicroBatchTooLarge")
    assert without["result"]["microBatch"] == {"tried": 2, "fits": 1, "halvings": 1}

    limited = next_attempt(snapshot).model_copy(update={"micro_batch": MicroBatch(tried=2, fits=1, halvings=1)})
    _, without = train(preloaded, tmp_path, limited, fault)
    assert (without["code"], without["result"]["failure"]["reason"]) == (68, "GpuOutOfMemory")
    assert without["result"]["failure"]["field"] == "spec.workers.gpuMemory"


def test_a_node_without_the_gpus_that_are_asked_for_is_told_by_the_field_to_change(preloaded, tmp_path, whole):
    snapshot = prepared(whole[0])
    workers = snapshot.spec.workers.model_copy(update={"gpus_per_node": 1})
    spec = snapshot.spec.model_copy(update={"workers": workers})
    for answer in train(preloaded, tmp_path, snapshot.model_copy(update={"spec": spec})):
        failure = answer["result"]["failure"]
        assert (answer["code"], failure["reason"], failure["field"]) == (78, "NoGpu", "spec.workers.gpusPerNode")


def test_a_run_that_is_published_is_not_trained_again(preloaded, whole):
    home, answers = whole
    again = train(preloaded, home, next_attempt(prepared(home)))
    assert [answer["result"]["published"] for answer in again] == [answers[0]["result"]["published"]] * 2
    assert again[0]["code"] == 0


def test_a_run_that_is_stopped_and_then_loses_a_rank_is_bit_by_bit_the_run_without_faults(preloaded, tmp_path, whole):
    first = prepared(tmp_path)
    stopped = train(preloaded, tmp_path, first, {"step": 5, "to": "pod", "signal": "SIGTERM"})
    assert [(answer["code"], answer["result"]["failure"]["reason"]) for answer in stopped] == [(143, "Stopped")] * 2
    assert stopped[0]["result"]["checkpointStep"] == 6

    second = next_attempt(first)
    survivor, killed = train(preloaded, tmp_path, second, {"node": 1, "step": 9, "signal": "SIGKILL"})
    assert (survivor["code"], survivor["result"]["failure"]["reason"]) == (75, "LostPeer")
    assert (killed["code"], killed["result"]["failure"]["reason"]) == (137, "Crashed")
    assert "SIGKILL" in killed["result"]["failure"]["message"]
    assert survivor["result"]["checkpointStep"] == 6

    # How the model is examined may change while a job is suspended.
    evaluation = second.spec.evaluation.model_copy(update={"generate_rows": 1})
    spec = second.spec.model_copy(update={"evaluation": evaluation})
    resumed = train(preloaded, tmp_path, next_attempt(second).model_copy(update={"spec": spec}))
    assert [answer["code"] for answer in resumed] == [0, 0]
    published = Published.parse(resumed[0]["result"]["published"])
    assert published.epoch == 3
    assert metrics_of(published) == metrics_of(Published.parse(whole[1][0]["result"]["published"]))


@pytest.fixture
def short(tmp_path: Path) -> Snapshot:
    """A run of two steps with an examination at its end."""
    return prepared(tmp_path, training={"sequenceLength": 256, "globalBatchSize": 4, "maxSteps": 2})


def test_a_gang_that_is_stopped_after_its_last_step_leaves_together_and_has_only_to_publish(preloaded, tmp_path, short):
    stopped = train(preloaded, tmp_path, short, {"step": 2, "to": "pod", "signal": "SIGTERM"})
    assert [(answer["code"], answer["result"]["failure"]["reason"]) for answer in stopped] == [(143, "Stopped")] * 2
    assert [answer["result"]["checkpointStep"] for answer in stopped] == [2, 2]

    resumed = train(preloaded, tmp_path, next_attempt(short))
    assert [(answer["code"], answer["result"]["published"]["step"]) for answer in resumed] == [(0, 2)] * 2


def test_a_run_all_of_whose_checkpoints_are_damaged_ends_with_what_to_do(preloaded, tmp_path, short):
    train(preloaded, tmp_path, short, {"step": 2, "to": "pod", "signal": "SIGTERM"})
    for stored in (tmp_path / "output").rglob("checkpoints/*/*/*"):
        stored.write_bytes(stored.read_bytes()[:-1] + b"?")

    for answer in train(preloaded, tmp_path, next_attempt(short)):
        failure = answer["result"]["failure"]
        assert (answer["code"], failure["reason"]) == (67, "CheckpointsCorrupt")
        assert f"delete file://{tmp_path}/output/runs/" in failure["message"]


def test_a_run_that_goes_wrong_again_after_it_went_back_ends_with_the_learning_rate_to_change(
    preloaded, tmp_path, short
):
    for answer in train(preloaded, tmp_path, short, {"error": "infinite loss", "step": 0}):
        failure = answer["result"]["failure"]
        assert (answer["code"], failure["reason"], failure["field"]) == (69, "Diverged", "spec.training.learningRate")
        assert failure["message"] == (
            "the loss or its gradient is no longer finite at step 2: try a smaller learning rate or more warm-up"
        )


def test_a_base_model_whose_weights_are_no_numbers_is_to_blame_before_any_learning_rate_is(preloaded, tmp_path):
    weights = tiny_model(tmp_path / "model") / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    training = {"sequenceLength": 256, "globalBatchSize": 4, "maxSteps": 2}
    for answer in train(preloaded, tmp_path, prepared(tmp_path, training=training)):
        failure = answer["result"]["failure"]
        assert (answer["code"], failure["reason"], failure["field"]) == (65, "ModelBroken", "spec.model.uri")


def test_one_rank_that_is_stopped_after_the_last_step_publishes_with_the_others(preloaded, tmp_path, short):
    fault = {"node": 1, "activity": "Evaluating", "step": 2, "to": "pod", "signal": "SIGTERM"}
    answers = train(preloaded, tmp_path, short, fault)
    assert [(answer["code"], answer["result"]["published"]["step"]) for answer in answers] == [(0, 2)] * 2


def test_when_the_validation_loss_rises_again_training_ends_and_the_best_weights_are_published(preloaded, tmp_path):
    training = {
        "sequenceLength": 256,
        "globalBatchSize": 4,
        "epochs": 8,
        "learningRate": 1,
        "schedule": "Constant",
        "precision": "Float32",
        "earlyStopping": {"patience": 2},
    }
    evaluation = {"everySteps": 3, "maxRows": 20, "generateRows": 0}
    snapshot = prepared(tmp_path, training=training, evaluation=evaluation)
    # What may change while a job is suspended no longer decides when it ends.
    changed = snapshot.spec.evaluation.model_copy(update={"every_steps": 1})
    spec = snapshot.spec.model_copy(update={"evaluation": changed})
    answers = train(preloaded, tmp_path, snapshot.model_copy(update={"spec": spec}))
    assert [answer["code"] for answer in answers] == [0, 0]

    published = Published.parse(answers[0]["result"]["published"])
    validations = metrics_of(published)["validations"]
    best = min(validations, key=lambda validation: validation["loss"])
    assert [validation["step"] for validation in validations] == list(range(3, best["step"] + 7, 3))
    assert (published.step, published.metrics.validation_loss) == (best["step"], best["loss"])
    assert answers[0]["result"]["checkpointStep"] == best["step"] + 6 < snapshot.prepared.resolved.total_steps


def test_a_model_that_has_changed_since_prepare_is_refused(preloaded, tmp_path):
    snapshot = prepared(tmp_path)
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("1e-05", "1e-06"))
    first, _ = train(preloaded, tmp_path, snapshot)
    assert first["code"] == 65
    assert first["result"]["failure"]["reason"] == "ModelChanged"
    assert first["result"]["failure"]["field"] == "spec.model.uri"


def ticket(number: int) -> dict[str, Any]:
    """What it is about stands at its end; one label is spelt otherwise."""
    label = "refund" if number % 3 == 0 else "delivery"
    return {"text": f"Ticket {number} is about a {label}", "label": label.upper() if number == 7 else label}


def classified(home: Path) -> Snapshot:
    """The train stage of a small Classification job."""
    task = {"type": "Classification", "classification": {"classWeights": "Balanced"}}
    return prepared(home, rows=list(map(ticket, range(120))), task=task)


def test_a_classifier_learns_and_after_a_loss_of_a_rank_it_is_bit_by_bit_the_same(preloaded, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "again").mkdir()
    answers = train(preloaded, tmp_path / "whole", classified(tmp_path / "whole"))
    assert [answer["code"] for answer in answers] == [0, 0]
    published = Published.parse(answers[0]["result"]["published"])
    metrics = published.metrics
    assert metrics.test_accuracy == metrics.test_macro_f1 == 1
    assert metrics.base_test_accuracy == pytest.approx(2 / 3, abs=0.1)
    assert metrics.test_loss < metrics.base_test_loss / 4
    told = metrics_of(published)
    assert [label["label"] for label in told["labels"]["labels"]] == ["delivery", "refund"]
    reports = Path(published.report_uri.removeprefix("file://")).parent
    samples = json.loads((reports / "samples.json").read_text())
    assert [(sample["expected"], sample["before"]) for sample in samples] == [
        (sample["after"], "delivery") for sample in samples
    ]
    assert "True label by line, told label by column" in (reports / "report.html").read_text()

    first = classified(tmp_path / "again")
    stopped = train(preloaded, tmp_path / "again", first, {"step": 3, "to": "pod", "signal": "SIGTERM"})
    assert [answer["code"] for answer in stopped] == [143, 143]
    second = next_attempt(first)
    lost = train(preloaded, tmp_path / "again", second, {"node": 1, "step": 5, "signal": "SIGKILL"})
    assert lost[0]["code"] == 75
    resumed = train(preloaded, tmp_path / "again", next_attempt(second))
    assert [answer["code"] for answer in resumed] == [0, 0]
    after = Published.parse(resumed[0]["result"]["published"])
    assert metrics_of(after) == told
    weights = [
        (Path(one.model_uri.removeprefix("file://")) / "adapter_model.safetensors").read_bytes()
        for one in (published, after)
    ]
    assert weights[0] == weights[1]
