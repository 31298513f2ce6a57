"""What rows look like."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.spec import CompletionTask, InstructionTask
from finetune_trainer.tasks.completion import Completion
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.shapes import Shape, detect


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"messages": []}, Shape.MESSAGES),
        ({"conversations": []}, Shape.CONVERSATIONS),
        ({"prompt": "", "completion": ""}, Shape.PAIR),
        ({"instruction": "", "output": "", "text": ""}, Shape.ALPACA),
        ({"text": "", "label": 1}, Shape.LABELLED),
        ({"text": "", "labels": [1, 2]}, Shape.LABELLED),
        ({"text": "", "id": 7}, Shape.TEXT),
        ({"prompt": "q"}, Shape.UNKNOWN),
        ({"messages": None, "prompt": "q", "completion": "a"}, Shape.PAIR),
        ({"prompt": None, "completion": None}, Shape.PAIR),
    ],
)
def test_a_shape_is_told_by_the_fields_that_hold_something(fields: dict[str, Any], shape: Shape) -> None:
    assert detect(fields) is shape


def test_a_task_says_what_its_mapping_makes_of_rows() -> None:
    row = {"q": "q", "a": "a"}
    assert Instruction(InstructionTask(prompt_field="q", completion_field="a")).shape(row) is Shape.PAIR
    assert Instruction(InstructionTask(messages_field="q")).shape(row) is Shape.MESSAGES
    assert Completion(CompletionTask(text_field="q")).shape(row) is Shape.TEXT
    assert Completion(CompletionTask()).shape(row) is Shape.UNKNOWN
