"""Shapes of conversations, and what they must be like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corpora import conversation
from finetune_api.spec import InstructionTask, Task, TaskType
from finetune_trainer.tasks import task_for
from finetune_trainer.tasks.completion import Completion
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import InvalidRow, Messages
from finetune_trainer.tokenizers import Message, load
from tiny_models import TokenizerKind, write_tokenizer

TASK = Instruction(InstructionTask())


def turns(*roles_and_contents: str) -> Messages:
    return tuple(Message(*turn.split(":", 1)) for turn in roles_and_contents)


def test_each_task_of_the_spec_is_registered() -> None:
    tasks = {kind: type(task_for(Task(type=kind))) for kind in TaskType}
    assert tasks == {TaskType.INSTRUCTION: Instruction, TaskType.COMPLETION: Completion}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            conversation("q", "a", "r", "b", system="s"),
            turns("system:s", "user:q", "assistant:a", "user:r", "assistant:b"),
        ),
        ({"prompt": "q", "completion": "a", "id": 7}, turns("user:q", "assistant:a")),
        ({"instruction": "do", "output": "a"}, turns("user:do", "assistant:a")),
        ({"instruction": "do", "input": "", "output": "a"}, turns("user:do", "assistant:a")),
        ({"instruction": "do", "input": None, "output": "a"}, turns("user:do", "assistant:a")),
        ({"instruction": "do", "input": "this", "output": "a"}, turns("user:do\n\nthis", "assistant:a")),
        ({**conversation("q", "a"), "prompt": "x", "completion": "y"}, turns("user:q", "assistant:a")),
    ],
)
def test_the_shape_of_a_row_is_detected(row: dict[str, Any], expected: Messages) -> None:
    assert TASK.parse(row) == expected


def test_names_in_the_spec_win_over_detection() -> None:
    row = {"prompt": "p", "completion": "c", "q": "Q", "a": "A", "chat": conversation("x", "y")["messages"]}
    pair = Instruction(InstructionTask(prompt_field="q", completion_field="a"))
    chat = Instruction(InstructionTask(messages_field="chat"))
    assert pair.parse(row) == turns("user:Q", "assistant:A")
    assert chat.parse(row) == turns("user:x", "assistant:y")


@pytest.mark.parametrize(
    ("settings", "row", "absent"),
    [
        (InstructionTask(), {"question": "q"}, "spec.task.instruction"),
        (InstructionTask(messages_field="chat"), {"q": "q"}, "spec.task.instruction.messagesField"),
        (InstructionTask(prompt_field="q", completion_field="a"), {"a": "a"}, "spec.task.instruction.promptField"),
        (InstructionTask(prompt_field="q", completion_field="a"), {"q": "q"}, "spec.task.instruction.completionField"),
    ],
)
def test_a_row_without_a_mapped_field_names_what_maps_it(
    settings: InstructionTask, row: dict[str, Any], absent: str
) -> None:
    with pytest.raises(InvalidRow) as invalid:
        Instruction(settings).parse(row)
    assert invalid.value.absent == absent


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"prompt": "q", "completion": None}, "completion", "completion is null, not text"),
        ({"prompt": ["q"], "completion": "a"}, "prompt", "prompt is a list, not text"),
        ({"prompt": "\udc80", "completion": "a"}, "prompt", "prompt holds half a surrogate pair"),
        ({"messages": "q"}, "messages", "messages is no list of messages"),
        ({"messages": []}, "messages", "messages is no list of messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "messages[0] has no role and content"),
        (
            {"messages": [{"role": "bot", "content": "a"}]},
            "messages[0].role",
            "messages[0] has the unknown role 'bot'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content",
            "messages[0].content is a list, not text",
        ),
    ],
)
def test_a_malformed_row_is_invalid_with_its_field(row: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.parse(row)
    assert (invalid.value.field, invalid.value.reason, invalid.value.absent) == (field, reason, None)


@pytest.mark.parametrize(
    ("messages", "field", "reason"),
    [
        (turns("user:q", "assistant: \n"), "message 2", "empty answer"),
        (turns("user:", "assistant:a"), "message 1", "empty prompt"),
        (turns("user:q"), "message 1", "ends without an answer"),
        (turns("system:s"), "message 1", "ends without an answer"),
        (turns("assistant:a"), "message 1", "message 1 is the assistant's where the user's should be"),
        (turns("user:q", "user:r"), "message 2", "message 2 is the user's where the assistant's should be"),
        (
            turns("user:q", "assistant:a", "system:s"),
            "message 3",
            "message 3 is the system's where the user's should be",
        ),
        (turns("system:s", "user:q", "assistant:a", "user:r"), "message 4", "ends without an answer"),
    ],
)
def test_roles_take_turns_and_no_turn_is_empty(messages: Messages, field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.check(messages)
    assert (invalid.value.field, invalid.value.reason) == (field, reason)


def test_a_good_conversation_passes() -> None:
    TASK.check(turns("system:", "user:q", "assistant:a", "user:r", "assistant:b"))


def test_each_document_is_shown_by_its_last_answer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TokenizerKind.MISTRAL_V3)
    tokenizer = load(tmp_path)
    plain = turns("user:q", "assistant:a", "user:r", "assistant:b")
    assert [(d.prompt, d.answer) for d in TASK.encode(plain, tokenizer)] == [("r", "b")]
    with_system = turns("system:s", *(f"{role}:{content}" for role, content in plain))
    assert [(d.prompt, d.answer) for d in TASK.encode(with_system, tokenizer)] == [("q", "a"), ("r", "b")]
