import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plain_process import told_by
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41, 1, 17]


class Labelled:
    """Documents of random tokens, read at their ends; each has the labels of its turn."""

    def __init__(self, labels: list[tuple[int, ...]], lengths: list[int] = LENGTHS) -> None:
        random = np.random.default_rng(0)
        self.documents = [random.integers(10, 200, length).astype(np.int32) for length in lengths]
        self._labels = labels
        self.rows = np.arange(len(lengths), dtype=np.int64)
        self.lengths = np.array(lengths, np.int32)

    def ids(self, index: int) -> np.ndarray:
        return self.documents[index]

    def mask(self, index: int) -> np.ndarray:
        return np.arange(len(self.documents[index])) == len(self.documents[index]) - 1

    def breaks(self, _index: int) -> tuple[int, ...]:
        return ()

    def labels(self, index: int) -> tuple[int, ...]:
        return self._labels[index % len(self._labels)]


def adapter() -> Any:
    from finetune_api.spec import LoRA
    from finetune_trainer.adapters import Adapter

    return Adapter(lora=LoRA(rank=4, alpha=8), target_modules=("q_proj", "down_proj"))


def load(folder: str, *, multi_label: bool = False, balanced: bool = False, precision: str = "Float32") -> Any:
    import torch

    from finetune_api.spec import Precision
    from finetune_trainer.measures import LabelSet
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import classification

    labels = LabelSet(("bug", "praise", "question"), (6, 3, 1), 10, multi_label)
    model = load_model(
        Path(folder),
        adapter=adapter(),
        seed=3,
        precision=Precision(precision),
        device=torch.device("cpu"),
        head=classification.head(labels, balanced=balanced, pad_id=2),
    )
    if precision == "Float32":
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():  # weights that do more than a fresh model's
            if parameter.requires_grad:
                parameter.data.normal_(std=0.3, generator=generator)
    return model, labels


def told(folder: str, published: str) -> dict[str, Any]:
    """Logits of all documents packed into one sequence, and one by one; what is published is left in `published`."""
    import torch

    from finetune_trainer.objectives import classification
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.publish.weights import Trained, write_trained
    from finetune_trainer.tokens import tokens_of

    model, labels = load(folder)
    model.eval()
    documents = Labelled([(0,)])
    write_trained(
        Trained(
            model=model,
            adapter=adapter(),
            head=classification.head(labels, balanced=False, pad_id=2),
            dtype=torch.float32,
            base_folder=Path(folder),
            base_model_uri=f"file://{folder}",
        ),
        Path(published),
    )
    rows = [PlacedRow(0, (0, 1, 2, 3)), PlacedRow(1, ()), PlacedRow(2, (4, 5, 6, 7, 8))]
    with torch.inference_mode():
        packed = model.logits(tokens_of(documents, rows, torch.device("cpu")))
        alone = [
            model.logits(tokens_of(documents, [PlacedRow(0, (index,))], torch.device("cpu")))[0]
            for index in range(len(LENGTHS))
        ]
    return {
        "packed": packed.tolist(),
        "alone": torch.stack(alone).tolist(),
        "documents": [ids.tolist() for ids in documents.documents],
        "trained": sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def test_published_logits_are_ours_packed_or_alone_and_padded_on_either_side(preloaded, tmp_path, folder):
    (ours,) = preloaded.run(told, folder=str(folder), published=str(tmp_path / "adapter"))
    np.testing.assert_allclose(ours["packed"], ours["alone"], atol=1e-5)
    assert np.ptp(np.array(ours["alone"]), axis=0).min() > 1e-2  # documents differ
    adapted = str(tmp_path / "adapter")
    plain = told_by("plain_classifier.py", str(folder), adapted, given=ours["documents"], preloaded=preloaded)
    assert plain["ours"] == []
    assert (plain["labels"], plain["padId"]) == ({"0": "bug", "1": "praise", "2": "question"}, 2)
    for name in ("alone", "right", "left"):
        np.testing.assert_allclose(plain[name], ours["alone"], atol=1e-5)
    assert [name for name in ours["trained"] if "score" in name] == ["mistral.score.weight"]


def losses(folder: str, labels: list[tuple[int, ...]], multi_label: bool, balanced: bool) -> dict[str, Any]:
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    model, _ = load(folder, multi_label=multi_label, balanced=balanced)
    rows = [PlacedRow(0, (0, 1, 2)), PlacedRow(1, ())]
    tokens = tokens_of(Labelled([tuple(each) for each in labels]), rows, torch.device("cpu"))
    loss = model(tokens)
    loss.backward()
    score = model.mistral.score.weight
    nothing = model(tokens_of(Labelled([(0,)]), [PlacedRow(0, ())], torch.device("cpu")))
    return {
        "loss": float(loss),
        "logits": model.logits(tokens).tolist(),
        "gradient": float(score.grad.abs().sum()),
        "nothing": float(nothing),
    }


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("balanced", [False, True])
def test_one_label_has_the_cross_entropy_of_its_row_times_the_weight_of_the_label(preloaded, folder, balanced):
    (found,) = preloaded.run(losses, folder=str(folder), labels=[[2], [0], [1]], multi_label=False, balanced=balanced)
    weights = np.array([10 / 18, 10 / 9, 10 / 3]) if balanced else np.ones(3)
    spread = log_softmax(np.array(found["logits"]))
    expected = -(weights[[2, 0, 1]] * spread[[0, 1, 2], [2, 0, 1]]).sum()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["gradient"] > 0
    assert found["nothing"] == 0


@pytest.mark.parametrize("balanced", [False, True])
def test_several_labels_have_the_mean_of_their_binary_cross_entropies(preloaded, folder, balanced):
    labels: list[list[int]] = [[2, 0], [], [1]]
    (found,) = preloaded.run(losses, folder=str(folder), labels=labels, multi_label=True, balanced=balanced)
    weights = np.array([4 / 6, 7 / 3, 9 / 1]) if balanced else np.ones(3)
    chances = 1 / (1 + np.exp(-np.array(found["logits"])))
    true = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    expected = -(weights * true * np.log(chances) + (1 - true) * np.log(1 - chances)).mean(axis=1).sum()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def precisions(folder: str) -> dict[str, Any]:
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    one, _ = load(folder, precision="BFloat16")
    other, _ = load(folder, precision="BFloat16")
    tokens = tokens_of(Labelled([(0,)]), [PlacedRow(0, (0, 1))], torch.device("cpu"))
    scores = [model.mistral.score.weight for model in (one, other)]
    return {"logits": str(one.logits(tokens).dtype), "same": bool((scores[0] == scores[1]).all()), "zero": False}


def test_the_head_computes_in_fp32_and_starts_from_the_seed(preloaded, folder):
    (found,) = preloaded.run(precisions, folder=str(folder))
    assert found == {"logits": "torch.float32", "same": True, "zero": False}


def examined(folder: str, multi_label: bool, micro_batch_size: int) -> Any:
    from finetune_trainer.evaluate import Examinee
    from finetune_trainer.gang import form_gang
    from finetune_trainer.objectives.classification import examine

    model, labels = load(folder, multi_label=multi_label)
    documents: Any = Labelled([(0, 2), (), (1,)] if multi_label else [(0,), (2,), (1,)])
    with form_gang(os.environ, gpu=False) as gang:
        examinee = Examinee(model=model, gang=gang, micro_batch_size=micro_batch_size, beat=lambda: None)
        found = examine(examinee, documents, labels, sequence_length=64, max_rows=8)
    assert found is not None
    return found[0].to_json()


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_measures_are_the_same_for_any_ranks_and_batches(preloaded, folder, multi_label):
    (alone,) = preloaded.run(examined, folder=str(folder), multi_label=multi_label, micro_batch_size=1)
    shared = preloaded.run(examined, world_size=2, folder=str(folder), multi_label=multi_label, micro_batch_size=2)
    assert alone["rows"] == 8
    for other in shared:
        assert other["labels"] == alone["labels"]
        assert other.get("confusion") == alone.get("confusion")
        for name in ("loss", "accuracy", "macroF1", "microF1", "calibrationError"):
            assert other[name] == pytest.approx(alone[name], abs=1e-6)
