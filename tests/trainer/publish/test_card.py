"""The model card, as hubs and people read it."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
import yaml

from finetune_api.contract import Stage
from finetune_api.snapshot import Snapshot
from finetune_trainer.history import History, Point, Sample, Score, Validation
from finetune_trainer.likeness import Likeness
from finetune_trainer.measures import CONFIDENCE_BINS, LabelSet, Told, measures, prior
from finetune_trainer.publish.card import LIBRARIES, model_card
from finetune_trainer.publish.rendering import Rendering
from jobs import make_job
from results import PREPARED

POINT = Point(step=300, loss=2.9, learning_rate=1e-4, gradient_norm=1.0)
HISTORY = History(
    latest=POINT,
    points=(POINT,),
    base_test=Score(loss=4.0, accuracy=0.25),
    test=Score(loss=3.0, accuracy=0.5),
    test_rows=2000,
)
SAME = Rendering(by="the chat template", rows=122, exact="tokenizer.model.v3")


def card(rendering=SAME, history: History = HISTORY, **spec) -> str:
    job = make_job(**spec)
    snapshot = Snapshot(name="triage", namespace="ml", uid="uid-1", stage=Stage.TRAIN, attempt=1, spec=job.spec)
    return model_card(snapshot, PREPARED, history, rendering)


def measured(**changes) -> str:
    """What the card says of how well the model does."""
    text = card(history=HISTORY.model_copy(update=changes))
    return text.split("## How well it does\n")[1].split("## How to load it")[0]


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_an_adapter_names_its_base_model_and_how_well_it_does():
    text = card(model={"uri": "s3://models/mistral-7b"})
    assert front_matter(text) == {
        "base_model": "s3://models/mistral-7b",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["mistral", "fine-tuned"],
    }
    assert "PeftModel.from_pretrained" in text
    for what in (PREPARED.run, PREPARED.model_digest, PREPARED.data_digest, "uid-1", *LIBRARIES):
        assert what in text


def test_it_says_how_well_the_model_did_before_and_does_now():
    answers = Likeness(rows=64, exact_match=0.875, rouge_l=0.9, chrf=88.25)
    before = Likeness(rows=64, exact_match=0.125, rouge_l=0.2, chrf=21.5)
    sample = Sample(prompt="P?", expected="E.", before="B.", after="A.")
    assert measured(base_answers=before, answers=answers, samples=(sample,)) == (
        "\n|  | Base model | Fine-tuned |\n"
        "| --- | --- | --- |\n"
        "| Loss, nats per token | 4.000 | 3.000 |\n"
        "| Perplexity | 54.60 | 20.09 |\n"
        "| Told right | 25.0% | 50.0% |\n"
        "| Exact match, of 64 answers | 12.5% | 87.5% |\n"
        "| ROUGE-L, of 64 answers | 0.200 | 0.900 |\n"
        "| chrF2, of 64 answers | 21.5 | 88.2 |\n"
        "\nOf the test split's 9 rows. `reports/report.html` beside this folder has the curves, and answers before and "
        "after.\n\n"
    )


def test_it_says_why_nothing_was_answered_and_which_rows_were_measured():
    assert "\n\nOf the first 5 of the test split's 9 rows. Test rows were not answered: too little. `rep" in measured(
        test_rows=5, unanswered="Test rows were not answered: too little"
    )
    assert measured(base_test=None, test=None).startswith("\nNot measured: the test split has no rows.")


def test_of_labels_it_tells_who_always_says_the_commonest():
    labels = LabelSet(("bug", "praise"), (20, 10), 30, multi_label=False)
    told = [Told(0, [0], [0], 0.1), Told(1, [0], [1], 2.0), Told(2, [1], [1], 0.3)]
    found = measures(told, np.zeros((CONFIDENCE_BINS, 3)), labels)
    text = measured(labels=found, base_labels=prior(labels, [[0], [0], [1]]))
    assert "|  | Always the commonest label | Fine-tuned |" in text
    assert "| Accuracy | 66.7% | 66.7% |\n| F1, the mean over labels (macro) | 0.400 | 0.667 |" in text
    assert "| Calibration error (ECE) | " in text
    assert "Perplexity" not in text


def test_a_whole_model_is_loaded_without_peft():
    text = card(method={"type": "Full"})
    assert front_matter(text)["library_name"] == "transformers"
    assert "PeftModel" not in text


@pytest.mark.parametrize("method", [{"type": "Full"}, {"type": "LoRA"}])
@pytest.mark.parametrize("task", [{"type": "Instruction"}, {"type": "Classification"}])
def test_the_code_that_loads_it_is_python(task, method):
    text = card(task=task, method=method)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ast.parse(code)
    assert ("SequenceClassification" in code) == (task["type"] == "Classification")


def test_it_says_how_texts_become_the_ids_that_were_trained():
    chats, texts = card(task={"type": "Instruction"}), card(task={"type": "Completion"})
    assert "tokenizer.apply_chat_template(\n" in chats
    assert "apply_chat_template" not in texts
    assert 'tokenizer("a text", return_tensors="pt")' in texts
    assert "makes the very ids that were trained of 122 test rows" in chats
    assert "make the trained ids of `tokenizer.model.v3`" in chats
    assert "mistral-common" not in card(SAME.model_copy(update={"exact": ""}))


def test_it_says_of_which_step_the_weights_are_where_they_are_not_the_last():
    assert "300 optimizer steps of 8 packed rows.\n" in card()
    best = HISTORY.model_copy(update={"best": Validation(step=200, loss=2.8, accuracy=0.5)})
    assert "300 optimizer steps of 8 packed rows; these are the weights after step 200" in card(history=best)
