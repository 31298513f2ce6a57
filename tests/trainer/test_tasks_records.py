"""Records: of a row's messages a row again, which the same task reads as the same messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune_api.spec import CompletionTask, InstructionTask, Task, TaskType
from finetune_trainer.tasks import task_for
from finetune_trainer.tokenizers import Message

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Weather in Ulm?"}
ANSWER = {"role": "assistant", "content": "Rain."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "abc123def", "type": "function", "function": {"name": "weather", "arguments": '{"in":"Ulm"}'}}
    ],
}
RESULT = {"role": "tool", "content": '{"sky": "grey"}', "tool_call_id": "abc123def"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
OLD_CALL = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": {"in": "Ulm"}}}


@pytest.mark.parametrize(
    ("settings", "row"),
    [
        ({}, {"messages": [SYSTEM, USER, ANSWER, USER, ANSWER]}),
        ({}, {"messages": [USER, CALL, RESULT, ANSWER], "tools": TOOLS}),
        ({}, {"messages": [USER, OLD_CALL, {"role": "function", "content": "grey"}, ANSWER], "functions": TOOLS}),
        ({}, {"prompt": "Hi", "completion": "Ho"}),
        ({}, {"prompt": [SYSTEM, USER], "completion": [CALL, RESULT, ANSWER], "tools": TOOLS}),
        ({}, {"instruction": "Add", "input": "1 2", "output": "3", "system": "Count.", "history": [["a", "b"]]}),
        ({}, {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}], "system": "S"}),
        ({"messages_field": "chat"}, {"chat": [SYSTEM, USER, ANSWER]}),
        ({"messages_field": "chat", "system_field": "role"}, {"chat": [USER, ANSWER], "role": "Be kind."}),
        ({"messages_field": "chat", "system_field": "role"}, {"chat": [SYSTEM, USER, ANSWER], "role": ""}),
        ({"messages_field": "chat", "system_field": "role"}, {"chat": [USER, ANSWER], "role": None}),
        ({"prompt_field": "q", "completion_field": "a"}, {"q": "Hi", "a": "Ho"}),
        ({"prompt_field": "q", "completion_field": "a"}, {"q": [SYSTEM, USER], "a": [ANSWER, USER, ANSWER]}),
        ({"prompt_field": "q", "completion_field": "a"}, {"q": [USER], "a": [CALL, RESULT, ANSWER], "tools": TOOLS}),
        (
            {"prompt_field": "q", "completion_field": "a", "input_field": "about", "system_field": "s"},
            {"q": "Sum up", "about": "a long text", "a": "short", "s": "Be brief."},
        ),
    ],
)
def test_an_instruction_row_is_read_back_as_it_was(settings: dict[str, Any], row: dict[str, Any]) -> None:
    task = task_for(Task(type=TaskType.INSTRUCTION, instruction=InstructionTask(**settings)))
    messages = task.parse(row)

    record = json.loads(json.dumps({"source": "s3://raw/a.jsonl", "line": 7, **task.record(messages)}))

    assert task.parse(record) == messages
    assert task.record(task.parse(record)) == task.record(messages)


def test_nothing_but_the_mapped_fields_is_needed_to_read_a_record() -> None:
    task = task_for(
        Task(type=TaskType.INSTRUCTION, instruction=InstructionTask(prompt_field="q", completion_field="a"))
    )

    assert task.record((Message("user", "Hi"), Message("assistant", "Ho"))) == {"q": "Hi", "a": "Ho"}


def test_a_document_is_read_back_from_its_field() -> None:
    task = task_for(Task(type=TaskType.COMPLETION, completion=CompletionTask(text_field="body")))

    assert task.record((Message("text", "A story."),)) == {"body": "A story."}
