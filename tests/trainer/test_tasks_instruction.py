"""Shapes of conversations, and what they must be like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corpora import conversation
from finetune_api.spec import InstructionTask, Task, TaskType
from finetune_trainer.tasks import task_for
from finetune_trainer.tasks.classification import Classification
from finetune_trainer.tasks.completion import Completion
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.preference import Preference
from finetune_trainer.tasks.rows import InvalidRow, Messages
from finetune_trainer.tokenizers import Message, load
from tiny_models import TokenizerKind, write_tokenizer

TASK = Instruction(InstructionTask())


def turns(*roles_and_contents: str) -> Messages:
    return tuple(Message(*turn.split(":", 1)) for turn in roles_and_contents)


def test_each_task_of_the_spec_is_registered() -> None:
    tasks = {kind: type(task_for(Task(type=kind))) for kind in TaskType}
    assert tasks == {
        TaskType.INSTRUCTION: Instruction,
        TaskType.COMPLETION: Completion,
        TaskType.CLASSIFICATION: Classification,
        TaskType.PREFERENCE: Preference,
    }


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
        (
            {"instruction": "do", "input": "this", "output": "a", "system": "s"},
            turns("system:s", "user:do\n\nthis", "assistant:a"),
        ),
        (
            {"instruction": "do", "output": "a", "history": [["q", "r"]], "system": None},
            turns("user:q", "assistant:r", "user:do", "assistant:a"),
        ),
        ({**conversation("q", "a"), "prompt": "x", "completion": "y"}, turns("user:q", "assistant:a")),
        ({**conversation("q", "a"), "tools": None, "system": "of a machine"}, turns("user:q", "assistant:a")),
        ({"prompt": "q", "completion": "a", "messages": None}, turns("user:q", "assistant:a")),
        (
            {
                "messages": [
                    {"role": "developer", "content": "s", "tool_calls": None},
                    {"role": "user", "content": [{"type": "text", "text": "q"}]},
                    {"role": "assistant", "content": "a", "tool_calls": [], "weight": 1},
                ]
            },
            turns("system:s", "user:q", "assistant:a"),
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
            turns("system:s", "user:q", "assistant:a"),
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "user", "value": "q"},
                    {"from": "model", "value": "a"},
                ]
            },
            turns("system:s", "user:q", "assistant:a"),
        ),
        ({"conversations": conversation("q", "a")["messages"]}, turns("user:q", "assistant:a")),
        (
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
                "completion": [{"role": "assistant", "content": "a"}],
            },
            turns("system:s", "user:q", "assistant:a"),
        ),
    ],
)
def test_the_shape_of_a_row_is_detected(row: dict[str, Any], expected: Messages) -> None:
    assert TASK.parse(row) == expected


def test_names_in_the_spec_win_over_detection() -> None:
    row = {"prompt": "p", "completion": "c", "q": "Q", "a": "A", "chat": conversation("x", "y")["messages"]}
    pair = Instruction(InstructionTask(prompt_field="q", completion_field="a"))
    chat = Instruction(InstructionTask(messages_field="chat"))
    assert pair.parse(row) == turns("user:Q", "assistant:A")
    more = Instruction(InstructionTask(prompt_field="q", completion_field="a", input_field="m", system_field="s"))
    assert more.parse({**row, "m": "M", "s": "S"}) == turns("system:S", "user:Q\n\nM", "assistant:A")
    assert more.parse({**row, "m": None, "s": ""}) == turns("user:Q", "assistant:A")
    assert chat.parse(row) == turns("user:x", "assistant:y")


@pytest.mark.parametrize(
    ("settings", "row", "absent"),
    [
        (InstructionTask(), {"question": "q"}, "spec.task.instruction"),
        (InstructionTask(messages_field="chat"), {"q": "q"}, "spec.task.instruction.messagesField"),
        (InstructionTask(prompt_field="q", completion_field="a"), {"a": "a"}, "spec.task.instruction.promptField"),
        (InstructionTask(prompt_field="q", completion_field="a"), {"q": "q"}, "spec.task.instruction.completionField"),
        (InstructionTask(system_field="s"), {"prompt": "q", "completion": "a"}, "spec.task.instruction.systemField"),
        (
            InstructionTask(prompt_field="q", completion_field="a", input_field="m"),
            {"q": "q", "a": "a"},
            "spec.task.instruction.inputField",
        ),
        (InstructionTask(), {"text": "t", "label": "l"}, "spec.task.instruction"),
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
            "messages[0].content[0].text",
            "messages[0].content[0].text is null, not text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]},
            "messages[0].content",
            "messages[0].content is a list of 2 parts; it may be one part of text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "…"}}]}]},
            "messages[0].content[0]",
            "messages[0].content[0] is no text, and only text can be trained on",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "weight": 0}]},
            "messages[0].weight",
            "messages[0] has a weight other than 1: every answer is trained alike",
        ),
        (
            {"prompt": conversation("q", "a")["messages"], "completion": conversation("q")["messages"]},
            "prompt",
            "prompt holds an answer, which would be trained too; put both into messages",
        ),
        (
            {"conversations": [{"from": "system", "value": "s"}], "system": "t"},
            "system",
            "system and the first message are both a system prompt",
        ),
        ({"instruction": "do", "output": "a", "history": ["q"]}, "history", "history is no list of pairs"),
    ],
)
def test_a_malformed_row_is_invalid_with_its_field(row: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.parse(row)
    assert (invalid.value.field, invalid.value.reason, invalid.value.absent) == (field, reason, None)


@pytest.mark.parametrize(
    ("messages", "field", "reason"),
    [
        (turns("user:q", "assistant: \n"), "messages[1]", "empty answer"),
        (turns("user:", "assistant:a"), "messages[0]", "empty prompt"),
        (turns("user:q"), "messages[0]", "ends without an answer"),
        (turns("system:s"), "messages[0]", "ends without an answer"),
        (turns("assistant:a"), "messages[0]", "messages[0] is the assistant's where the user's should be"),
        (turns("user:q", "user:r"), "messages[1]", "messages[1] is the user's where the assistant's should be"),
        (
            turns("user:q", "assistant:a", "system:s"),
            "messages[2]",
            "messages[2] is the system's where the user's should be",
        ),
        (turns("system:s", "user:q", "assistant:a", "user:r"), "messages[3]", "ends without an answer"),
    ],
)
def test_roles_take_turns_and_no_turn_is_empty(messages: Messages, field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.check(messages, {"messages": list(messages)})
    assert (invalid.value.field, invalid.value.reason) == (field, reason)


def test_a_good_conversation_passes() -> None:
    messages = turns("system:", "user:q", "assistant:a", "user:r", "assistant:b")
    TASK.check(messages, {"messages": list(messages)})


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "q", "completion": " "}, "completion"),
        ({"prompt": " ", "completion": "a"}, "prompt"),
        (conversation("q", " ", system=" "), "messages[2]"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": ""}]}, "conversations[1]"),
        (
            {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": ""}]},
            "completion[0]",
        ),
        ({"instruction": "do", "output": "", "history": [["q", "r"]]}, "output"),
        ({"instruction": "do", "output": "a", "history": [["q", ""]], "system": "s"}, "history[0][1]"),
    ],
)
@pytest.mark.parametrize("left_out", [False, True])
def test_a_turn_is_named_as_the_row_names_it(row: dict[str, Any], name: str, left_out: bool) -> None:
    messages = TASK.parse(row)
    if left_out and messages[0].role == "system" and not messages[0].content.strip():
        messages = messages[1:]
    with pytest.raises(InvalidRow) as invalid:
        TASK.check(messages, row)
    assert invalid.value.field == name


def test_each_document_is_shown_by_its_last_answer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TokenizerKind.MISTRAL_V3)
    tokenizer = load(tmp_path)
    plain = turns("user:q", "assistant:a", "user:r", "assistant:b")
    assert [(d.prompt, d.answer) for d in TASK.encode(plain, tokenizer)] == [("r", "b")]
    with_system = turns("system:s", *(f"{message.role}:{message.content}" for message in plain))
    assert [(d.prompt, d.answer) for d in TASK.encode(with_system, tokenizer)] == [("q", "a"), ("r", "b")]
