"""The model card, as hubs and people read it."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from finetune_api.contract import Stage
from finetune_api.snapshot import Snapshot
from finetune_trainer.history import History, Point, Score
from finetune_trainer.publish.card import LIBRARIES, model_card
from finetune_trainer.publish.rendering import Rendering
from jobs import make_job
from results import PREPARED

POINT = Point(step=300, loss=2.9, learning_rate=1e-4, gradient_norm=1.0)
HISTORY = History(
    latest=POINT,
    points=(POINT,),
    base_test=Score(loss=4.0, accuracy=0.25),
    test=Score(loss=3.0, accuracy=0.5, figures={"chrF": 61.5}),
)


SAME = Rendering(by="the chat template", rows=122, exact="tokenizer.model.v3")


def card(rendering=SAME, **spec) -> str:
    job = make_job(**spec)
    snapshot = Snapshot(name="triage", namespace="ml", uid="uid-1", stage=Stage.TRAIN, attempt=1, spec=job.spec)
    return model_card(snapshot, PREPARED, HISTORY, rendering)


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
    assert "| loss | 4 | 3 |\n| accuracy | 0.25 | 0.5 |\n| chrF |  | 61.5 |\n" in text
    assert "F1" not in text
    assert "PeftModel.from_pretrained" in text
    for what in (PREPARED.run, PREPARED.model_digest, PREPARED.data_digest, "uid-1", *LIBRARIES):
        assert what in text


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
