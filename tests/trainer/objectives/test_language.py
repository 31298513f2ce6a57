import os
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot
from encoded import Encoded
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from jobs import make_job
from language_models import language_engine, load_language_model
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41]


def scored(folder: str, micro_batch_size: int) -> dict[str, Any]:
    """The score of packed rows by the gang, and token by token by transformers' own loss and logits."""
    import torch

    from finetune_trainer.evaluate import Examinee
    from finetune_trainer.gang import form_gang
    from finetune_trainer.objectives.language import LanguageExamination

    data, model = Encoded.random(LENGTHS, vocab_size=8), load_language_model(folder)
    model.mistral.lm_head.weight.data[8:] = 0  # of eight tokens some are guessed
    spec = make_job(training={"sequenceLength": 64}).spec
    beats: list[None] = []
    with form_gang(os.environ, gpu=False) as gang:
        model.train()
        examinee = Examinee(model=model, gang=gang, micro_batch_size=micro_batch_size, beat=lambda: beats.append(None))
        score = LanguageExamination(spec, examinee, None).score(data, max_rows=len(LENGTHS))
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


IMPOSSIBLE = 10**15
"""Tokens of an answer: no machine has room for their keys and values."""


def measured(folders: dict[str, str], spec: dict[str, Any], later: dict[str, Any], zero_stage: int) -> dict[str, Any]:
    """Both measurements of one model, the second as a spec with another evaluation asks for it."""
    from finetune_api.spec import Evaluation, Spec
    from finetune_trainer import tokenizers
    from finetune_trainer.evaluate import Examinee
    from finetune_trainer.gang import form_gang
    from finetune_trainer.history import History
    from finetune_trainer.objectives.language import LanguageExamination
    from finetune_trainer.prepared import open_split

    asked = Spec.parse(spec)
    test, tokenizer = open_split(Path(folders["data"]), "test"), tokenizers.load(Path(folders["model"]))
    with form_gang(os.environ, gpu=False) as gang:
        model = language_engine(folders["model"], gang, zero_stage=zero_stage, method="LoRA").module
        examinee = Examinee(model=model, gang=gang, micro_batch_size=1, beat=lambda: None)

        def examination(evaluation: Evaluation) -> LanguageExamination:
            return LanguageExamination(asked.model_copy(update={"evaluation": evaluation}), examinee, tokenizer)

        first, second = asked.evaluation, Evaluation.parse(later)
        base = examination(first).measure_base(History(), test)
        found = {
            "history": examination(second).measure_trained(base, test).to_json(),
            "whole": examination(second).score(test, max_rows=100).to_json(),
        }
        if zero_stage == 3:
            endless = examination(first.model_copy(update={"max_new_tokens": IMPOSSIBLE}))
            none = endless.measure_base(History(), test)
            found["no room before"] = examination(second).measure_trained(none, test).to_json()
            longer = base.model_copy(update={"longest_answer": IMPOSSIBLE})
            found["no room after"] = examination(second).measure_trained(longer, test).to_json()
        return found


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


@pytest.fixture(scope="module")
def found(preloaded, tmp_path_factory) -> dict[int, list[dict[str, Any]]]:
    """What each rank measured, by ZeRO stage."""
    home = tmp_path_factory.mktemp("measured")
    evaluation = {"maxRows": 2, "generateRows": 2, "maxNewTokens": 3}
    snapshot = prepare_snapshot(home, map(pair, range(100)), evaluation=evaluation)
    (home / "scratch").mkdir()
    prepared = prepare(snapshot, storage=open_storage(), scratch=home / "scratch", report=lambda _: None, cpuinfo="")
    arguments: dict[str, Any] = {
        "folders": {"model": str(home / "model"), "data": prepared.data_uri.removeprefix("file://")},
        "spec": snapshot.spec.to_json(),
        "later": {"maxRows": 100, "generateRows": 1, "maxNewTokens": 1},
    }
    # ZeRO 3 patches torch's linear layers for the rest of a process.
    return {stage: preloaded.run(measured, world_size=2, zero_stage=stage, **arguments) for stage in (1, 3)}


@pytest.mark.parametrize("stage", [1, 3])
def test_before_and_after_are_measured_on_the_same_rows_whatever_is_asked_for_since(found, stage):
    for answer in found[stage]:
        history = answer["history"]
        assert history["test"] == history["baseTest"] != answer["whole"]
        assert history["answers"] == history["baseAnswers"]
        assert len(history["samples"]) == 2
        assert all(sample["after"] == sample["before"] for sample in history["samples"])


def test_weights_that_are_divided_answer_like_whole_ones(found):
    for divided in found[3]:
        assert divided["history"]["samples"] == found[1][0]["history"]["samples"]


@pytest.mark.parametrize("when", ["no room before", "no room after"])
def test_without_room_for_whole_weights_and_answers_there_are_none_before_nor_after(found, when):
    for answer in found[3]:
        history = answer[when]
        assert history["unanswered"].startswith("Test rows were not answered: with the weights divided by ZeRO 3 ")
        assert history["unanswered"].endswith("with spec.evaluation.generateRows: 0")
        assert not history.keys() & {"baseAnswers", "answers"}
        assert history["samples"] == []
        assert history["test"] == history["baseTest"] == answer["history"]["test"]
    assert len({answer[when]["unanswered"] for answer in found[3]}) == 1
