import os
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot
from encoded import Encoded
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from jobs import make_job
from language_models import load_language_model
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41]


def scored(folder: str, micro_batch_size: int) -> dict[str, Any]:
    """The score of packed rows by the gang, and token by token by transformers' own loss and logits."""
    import torch

    from finetune_trainer.gang import form_gang
    from finetune_trainer.objectives.language import LanguageExamination

    data, model = Encoded.random(LENGTHS, vocab_size=8), load_language_model(folder)
    model.mistral.lm_head.weight.data[8:] = 0  # of eight tokens some are guessed
    spec = make_job(training={"sequenceLength": 64}).spec
    beats: list[None] = []
    with form_gang(os.environ, gpu=False) as gang:
        model.train()
        examination = LanguageExamination(spec, gang, model, None, lambda: beats.append(None), micro_batch_size)
        score = examination.score(data, max_rows=len(LENGTHS))
        training = model.training
    model.eval()
    loss, right, labelled = 0.0, 0, 0
    for index in range(len(LENGTHS)):
        ids, mask = torch.tensor(data.ids(index), dtype=torch.int64), torch.tensor(data.mask(index))[1:]
        if number := int(mask.sum()):
            targets = ids[1:][mask]
            with torch.no_grad():
                logits = model.mistral(input_ids=ids[None]).logits[0, :-1][mask]
            loss += float(torch.nn.functional.cross_entropy(logits.double(), targets, reduction="sum"))
            right += int((logits.argmax(dim=1) == targets).sum())
            labelled += number
    assert score is not None
    return {
        "loss": [score.loss, loss / labelled],
        "accuracy": [score.accuracy, right / labelled],
        "training": training,
        "beats": len(beats),
    }


def measured(model: str, data: str, spec: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Both measurements of one model, the second as a spec with another evaluation asks for it."""
    import torch

    from finetune_api.spec import Evaluation, LoRA, Precision, Spec
    from finetune_trainer import tokenizers
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.gang import form_gang
    from finetune_trainer.history import History
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives.language import HEAD, LanguageExamination
    from finetune_trainer.prepared import open_split

    asked = Spec.parse(spec)
    loaded = load_model(
        Path(model),
        adapter=Adapter(lora=LoRA(rank=4), target_modules=("q_proj",)),
        seed=0,
        precision=Precision.FLOAT32,
        device=torch.device("cpu"),
        head=HEAD,
    )
    test = open_split(Path(data), "test")
    with form_gang(os.environ, gpu=False) as gang:

        def examination(spec: Spec) -> LanguageExamination:
            return LanguageExamination(spec, gang, loaded, tokenizers.load(Path(model)), lambda: None, 1)

        base = examination(asked).measure_base(History(), test)
        changed = asked.model_copy(update={"evaluation": Evaluation.parse(later)})
        whole = examination(changed).score(test, max_rows=100).to_json()
        return {"history": examination(changed).measure_trained(base, test).to_json(), "whole": whole}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny_model(tmp_path / "model"))


@pytest.mark.parametrize(("world_size", "micro_batch_size"), [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_every_labelled_token_counts_once_whatever_the_gang(preloaded, folder, world_size, micro_batch_size):
    for answer in preloaded.run(scored, world_size=world_size, folder=folder, micro_batch_size=micro_batch_size):
        loss, plain = answer["loss"]
        assert loss == pytest.approx(plain, rel=1e-6)
        assert answer["accuracy"][0] == answer["accuracy"][1] > 0
        assert answer["training"]
        assert answer["beats"] > 0


def test_before_and_after_are_measured_on_the_same_rows_whatever_is_asked_for_since(preloaded, tmp_path):
    evaluation = {"maxRows": 2, "generateRows": 2, "maxNewTokens": 3}
    snapshot = prepare_snapshot(tmp_path, map(pair, range(100)), evaluation=evaluation)
    (tmp_path / "scratch").mkdir()
    found = prepare(snapshot, storage=open_storage(), scratch=tmp_path / "scratch", report=lambda _: None, cpuinfo="")
    (answer,) = preloaded.run(
        measured,
        model=str(tmp_path / "model"),
        data=found.data_uri.removeprefix("file://"),
        spec=snapshot.spec.to_json(),
        later={"maxRows": 100, "generateRows": 1, "maxNewTokens": 3},
    )
    history = answer["history"]
    assert history["test"] == history["baseTest"] != answer["whole"]
    assert len(history["samples"]) == 2
    assert all(sample["after"] == sample["before"] for sample in history["samples"])
