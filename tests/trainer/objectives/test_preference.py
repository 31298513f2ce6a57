import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import pods
from corpora import prepare_snapshot
from encoded import Pairs
from finetune_api.contract import Stage
from finetune_api.result import Published
from finetune_api.spec import LoRA
from finetune_trainer.prepare import prepare
from finetune_trainer.prepare.model.adapter import expected_adapter
from finetune_trainer.prepare.model.architecture import read_config
from finetune_trainer.storage import open_storage
from jobs import make_job
from tiny_models import tiny_model

LENGTHS = [20, 12, 31, 44, 9, 26, 15]
BETA = 0.3
SIZE = {"rank": 4, "alpha": 8}
MODULES = ("q_proj", "down_proj")


def load(folder: str, *, initial: str | None = None, fresh: bool = False) -> Any:
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives.preference import Preference

    spec = make_job(task={"type": "Preference", "preference": {"beta": BETA}}, training={"sequenceLength": 64}).spec
    objective = Preference.of(spec, Any, Any)
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(**SIZE), target_modules=MODULES, initial=Path(initial) if initial else None),
        seed=3,
        precision=Precision.FLOAT32,
        device=torch.device("cpu"),
        head=objective.head,
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # weights that do more than a fresh model's
        if parameter.requires_grad and not fresh:
            parameter.data.normal_(std=0.3, generator=generator)
    return objective, model


def compared(folder: str) -> dict[str, Any]:
    """Margins and loss of packed pairs, and those of each sequence alone by transformers' own logits."""
    import torch

    from finetune_trainer.adapters import as_it_began
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    _, model = load(folder)
    data = Pairs.random(LENGTHS, vocab_size=200)
    tokens = tokens_of(data, [PlacedRow(0, (0, 1, 2)), PlacedRow(1, ()), PlacedRow(2, (3,))], torch.device("cpu"))
    loss = model(tokens)
    loss.backward()
    gradient = sum(float(parameter.grad.abs().sum()) for parameter in model.parameters() if parameter.requires_grad)
    pairs = model.pairs(tokens)
    nothing = model(tokens_of(data, [PlacedRow(0, ())], torch.device("cpu")))
    nothing.backward()

    def likelihood(ids: np.ndarray, mask: np.ndarray) -> float:
        whole = torch.tensor(ids, dtype=torch.int64)
        spread = model.mistral(input_ids=whole[None]).logits[0, :-1].double().log_softmax(dim=1)
        return float(spread.gather(1, whole[1:, None])[:, 0][torch.tensor(mask)[1:]].sum())

    def sequences(document: int) -> list[float]:
        at = data.breaks(document)
        halves = zip(np.split(data.ids(document), at), np.split(data.mask(document), at), strict=True)
        return [likelihood(*half) for half in halves]

    margins, leads = [], []
    with torch.no_grad():
        for document in range(4):
            chosen, rejected = sequences(document)
            with as_it_began(model):
                chosen_before, rejected_before = sequences(document)
            leads.append(chosen - rejected)
            margins.append(BETA * ((chosen - chosen_before) - (rejected - rejected_before)))
    return {
        "margins": [pairs.margins.tolist(), margins],
        "leads": [pairs.leads.tolist(), leads],
        "loss": [float(loss), float(np.log1p(np.exp(-np.array(margins))).sum())],
        "gradient": gradient,
        "nothing": float(nothing),
    }


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny_model(tmp_path / "model"))


def test_margins_are_those_of_each_answer_alone_against_the_model_without_its_adapter(preloaded, folder):
    (found,) = preloaded.run(compared, folder=folder)
    for name in ("margins", "leads", "loss"):
        ours, plain = found[name]
        assert ours == pytest.approx(plain, abs=1e-4)
    assert np.ptp(found["margins"][0]) > 0.1
    assert found["gradient"] > 0
    assert found["nothing"] == 0


def scored(folder: str, micro_batch_size: int, fresh: bool = False) -> Any:
    from finetune_trainer.evaluate import Examinee
    from finetune_trainer.gang import form_gang

    objective, model = load(folder, fresh=fresh)
    documents: Any = Pairs.random(LENGTHS, vocab_size=200)
    with form_gang(os.environ, gpu=False) as gang:
        examinee = Examinee(model=model, gang=gang, micro_batch_size=micro_batch_size, beat=lambda: None)
        score = objective.examination(examinee).score(documents, max_rows=6)
    return score.to_json()


def test_the_score_is_the_same_for_any_ranks_and_batches(preloaded, folder):
    (alone,) = preloaded.run(scored, folder=folder, micro_batch_size=1)
    for other in preloaded.run(scored, world_size=2, folder=folder, micro_batch_size=3):
        assert other["accuracy"] == alone["accuracy"]
        assert other["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        assert other["figures"] == pytest.approx(alone["figures"], abs=1e-5)


def test_before_training_no_answer_has_gained_on_the_other(preloaded, folder):
    (score,) = preloaded.run(scored, folder=folder, micro_batch_size=1, fresh=True)
    assert score["loss"] == pytest.approx(np.log(2))
    assert (score["accuracy"], score["figures"]["Margin"]) == (0, 0)


def going_on(folder: str, adapter: str) -> dict[str, Any]:
    """Margins of a model that goes on from an adapter: as it is then, and once its own adapter has been stirred.

    Beside the latter what they are by two models: that one, and one that learns language from the same adapter.
    """
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    tokens = tokens_of(Pairs.random(LENGTHS, vocab_size=200), [PlacedRow(0, (0, 1, 2))], torch.device("cpu"))
    plain = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(**SIZE), target_modules=MODULES, initial=Path(adapter)),
        seed=0,
        precision=Precision.FLOAT32,
        device=torch.device("cpu"),
        head=language.HEAD,
    )

    def likelihoods(model: Any) -> torch.Tensor:
        labelled = model.hidden(tokens).index_select(0, tokens.predictors)
        losses = model.mistral.lm_head(labelled, tokens.targets, reduction="none")
        return torch.zeros(6).index_add(0, tokens.owners, -losses)

    with torch.no_grad():
        (_, begun), (_, stirred) = (load(folder, initial=adapter, fresh=fresh) for fresh in (True, False))
        chosen, rejected = (likelihoods(stirred) - likelihoods(plain)).reshape(3, 2).unbind(dim=1)
        return {
            "begun": begun.pairs(tokens).margins.tolist(),
            "stirred": stirred.pairs(tokens).margins.tolist(),
            "by two models": (BETA * (chosen - rejected)).tolist(),
            "trained": sorted({name.split(".")[-2] for name, p in stirred.named_parameters() if p.requires_grad}),
        }


def test_what_goes_on_from_an_adapter_is_compared_with_that(preloaded, folder, tmp_path):
    expected = expected_adapter(read_config(json.loads(Path(folder, "config.json").read_text())), LoRA(**SIZE), MODULES)
    random = np.random.default_rng(0)
    tensors = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in expected.items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (found,) = preloaded.run(going_on, folder=folder, adapter=str(tmp_path))
    assert found["begun"] == [0, 0, 0]
    assert found["stirred"] == pytest.approx(found["by two models"], abs=1e-5)
    assert np.ptp(found["stirred"]) > 0.1
    assert found["trained"] == ["default"]


def pod(folder: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    return pods.run_pod(folder, snapshot, None)


def test_a_gang_learns_which_answers_are_preferred(preloaded, tmp_path):
    rows = [
        {"prompt": f"Where is order {number}?", "chosen": f"Kindly: on its way, {number}.", "rejected": "No idea."}
        for number in range(60)
    ]
    snapshot = prepare_snapshot(
        tmp_path,
        rows,
        task={"type": "Preference"},
        method={"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.05}},
        training={"globalBatchSize": 2, "epochs": 3, "learningRate": 1e-2, "precision": "Float32"},
        evaluation={"generateRows": 1, "maxNewTokens": 40},
        workers={"nodes": 2},
    )
    (tmp_path / "scratch").mkdir()
    found = prepare(snapshot, storage=open_storage(), scratch=tmp_path / "scratch", report=lambda _: None, cpuinfo="")
    assert found.data.trained_tokens > 10 * found.data.splits.train  # though the loss is a mean over pairs
    snapshot = snapshot.model_copy(update={"stage": Stage.TRAIN, "prepared": found})
    answers = preloaded.run(pod, world_size=2, folder=str(tmp_path / "pods"), snapshot=snapshot.to_json())
    assert [answer["code"] for answer in answers] == [0, 0]
    published = Published.parse(answers[0]["result"]["published"])
    assert published.metrics.base_test_loss == pytest.approx(np.log(2), abs=1e-6)
    assert published.metrics.test_loss < published.metrics.base_test_loss / 2
    assert (published.metrics.base_test_accuracy, published.metrics.test_accuracy) == (0, 1)
    reports = Path(published.report_uri.removeprefix("file://")).parent
    assert json.loads((reports / "metrics.json").read_text())["test"]["figures"]["Margin"] > 0.5
    (sample,) = json.loads((reports / "samples.json").read_text())
    assert sample["prompt"].startswith("Where is order")
    assert sample["expected"].startswith("Kindly: on its way")
    assert sample["before"] != sample["after"] != sample["expected"]
    assert "Chosen is likelier" in (reports / "report.html").read_text()
