"""Rows that define tools, call them and show their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune_api.spec import InstructionTask
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import InvalidRow, Messages
from finetune_trainer.tokenizers import Message, ToolCall

TASK = Instruction(InstructionTask())

FUNCTION = {"name": "weather", "description": "Of a city.", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
DEFINED = Message("tools", json.dumps(TOOLS))
ARGUMENTS = '{"city": "Oslo"}'
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}

USER: dict[str, Any] = {"role": "user", "content": "Rain in Oslo?"}
CALLING: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: dict[str, Any] = {"role": "tool", "tool_call_id": "c1", "content": '{"rain": true}'}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "Yes."}


def row(*turns: dict[str, Any], tools: object = TOOLS) -> dict[str, Any]:
    return {"messages": list(turns), "tools": tools}


PARSED: Messages = (
    DEFINED,
    Message("user", "Rain in Oslo?"),
    Message("assistant", "", (ToolCall("c1", "weather", ARGUMENTS),)),
    Message("tool", '{"rain": true}', call_id="c1"),
    Message("assistant", "Yes."),
)


def numbered(messages: Messages) -> Messages:
    """The same where the row has no ids: calls are numbered."""
    given = {"c1": "call_0"}
    return tuple(
        message._replace(
            calls=tuple(call._replace(id=given[call.id]) for call in message.calls),
            call_id=given.get(message.call_id, ""),
        )
        for message in messages
    )


SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Rain in Oslo?"},
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Oslo"}})},
        {"from": "observation", "value": '{"rain": true}'},
        {"from": "gpt", "value": "Yes."},
    ],
    "tools": json.dumps([FUNCTION]),
}
OLDER = {
    "messages": [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": ARGUMENTS}},
        {"role": "function", "name": "weather", "content": '{"rain": true}'},
        ANSWER,
    ],
    "functions": [FUNCTION],
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (row(USER, CALLING, RESULT, ANSWER), PARSED),
        (row(USER, CALLING, RESULT, ANSWER, tools=json.dumps(TOOLS)), PARSED),
        (row(USER, CALLING, RESULT, ANSWER, tools=[FUNCTION]), PARSED),
        (row(USER, CALLING, {**RESULT, "content": {"rain": True}}, ANSWER), PARSED),
        (row(USER, CALLING, {**RESULT, "content": [{"type": "text", "text": '{"rain": true}'}]}, ANSWER), PARSED),
        (row(USER, {**CALLING, "tool_calls": json.dumps([CALL])}, RESULT, ANSWER), PARSED),
        (
            row(USER, {**CALLING, "tool_calls": [{"id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}]}),
            PARSED[:3],
        ),
        (row(USER, CALLING, {**RESULT, "tool_call_id": None}, ANSWER), PARSED),
        (OLDER, numbered(PARSED)),
        (SHAREGPT, numbered(PARSED)),
        (row(USER, CALLING, RESULT, ANSWER, tools=[]), PARSED[1:]),
        (
            {"prompt": "q", "completion": "a", "tools": TOOLS},
            (DEFINED, Message("user", "q"), Message("assistant", "a")),
        ),
        ({"prompt": [USER, CALLING, RESULT], "completion": [ANSWER], "tools": TOOLS}, None),
    ],
)
def test_every_way_to_write_tools_is_understood(fields: dict[str, Any], expected: Messages | None) -> None:
    if expected is None:
        with pytest.raises(InvalidRow, match="prompt holds an answer"):
            TASK.parse(fields)
        return
    assert TASK.parse(fields) == expected
    TASK.check(TASK.parse(fields), fields)


def calling(**changes: Any) -> dict[str, Any]:
    return row(USER, {**CALLING, "tool_calls": [{**CALL, "function": {**CALL["function"], **changes}}]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        (row(USER, ANSWER, tools="weather"), "tools", "tools is not JSON: Expecting value"),
        (row(USER, ANSWER, tools={"a": 1}), "tools", "tools is no list of tools"),
        (row(USER, ANSWER, tools=["weather"]), "tools[0]", "is no definition of a tool"),
        (row(USER, ANSWER, tools=[{"type": "function", "function": {}}]), "tools[0].function", "has no name"),
        (row(USER, ANSWER, tools=[{"type": "retrieval", "function": {}}]), "tools[0].type", "is no function"),
        (row(USER, ANSWER, tools=[{"name": "a", "parameters": []}]), "tools[0].parameters", "must be a JSON schema"),
        (row(USER, ANSWER, tools=[{"name": "a", "description": 1}]), "tools[0].description", "is no text"),
        (row(USER, ANSWER, tools=[FUNCTION, FUNCTION]), "tools[1]", "defines 'weather' twice"),
        (row(USER, ANSWER, tools=[{"name": "a", "x": float("nan")}]), "tools", "cannot be written as JSON"),
        (calling(arguments="{city: Oslo}"), "messages[1].tool_calls[0].function.arguments", "is not JSON: Expecting"),
        (calling(arguments='{"a": NaN}'), "messages[1].tool_calls[0].function.arguments", "NaN is no JSON"),
        (calling(arguments='["Oslo"]'), "messages[1].tool_calls[0].function.arguments", "arguments have names"),
        (calling(arguments=["Oslo"]), "messages[1].tool_calls[0].function.arguments", "arguments have names"),
        (calling(arguments="[" * 100_000), "messages[1].tool_calls[0].function.arguments", "is not JSON"),
        (calling(name=""), "messages[1].tool_calls[0].function", "has no name"),
        (row(USER, {**CALLING, "tool_calls": 7}), "messages[1].tool_calls", "is no list of calls"),
        (row(USER, {**CALLING, "tool_calls": ["c"]}), "messages[1].tool_calls[0]", "is no call"),
        (
            row(USER, {**CALLING, "function_call": {"name": "a"}}),
            "messages[1].function_call",
            "has both tool_calls and function_call; keep one",
        ),
        (row(USER, RESULT | {"tool_call_id": None}, ANSWER), "messages[1]", "is the result of no call"),
        (row(USER, CALLING, RESULT | {"content": 4}), "messages[2].content", "is a number, not text"),
    ],
)
def test_what_is_wrong_with_tools_is_said_with_its_field(fields: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.parse(fields)
    assert invalid.value.field == field
    assert reason in invalid.value.reason


TWICE = {**CALLING, "tool_calls": [CALL, CALL]}
BOTH = {**CALLING, "tool_calls": [CALL, {**CALL, "id": "c2"}]}
OTHER_RESULT = {**RESULT, "tool_call_id": "c2"}


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        (row(USER, CALLING, USER, ANSWER), "messages[2]", "comes before the result of the call of 'weather'"),
        (row(USER, CALLING, ANSWER), "messages[2]", "comes before the result of the call of 'weather'"),
        (row(USER, BOTH, RESULT, ANSWER), "messages[3]", "comes before the result of the call of 'weather'"),
        (row(USER, CALLING, RESULT, RESULT, ANSWER), "messages[3]", "is the result of no call that waits for one"),
        (row(USER, CALLING, OTHER_RESULT, ANSWER), "messages[2]", "is the result of no call that waits for one"),
        (row(USER, TWICE), "messages[1]", "has two calls with the id 'c1'"),
        (calling(name="rain"), "messages[1]", "calls 'rain', which the row's tools do not define"),
        (row(USER, CALLING, RESULT), "messages[2]", "ends without an answer"),
        (row(USER, CALLING, RESULT, USER, ANSWER), "messages[3]", "is the user's where the assistant's should be"),
        (row({**CALLING, "role": "user"}), "messages[0]", "only an assistant can"),
        (row(USER, {**CALLING, "tool_calls": []} | {"content": " "}), "messages[1]", "empty answer"),
    ],
)
def test_calls_and_results_follow_each_other(fields: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        TASK.check(TASK.parse(fields), fields)
    assert invalid.value.field == field
    assert reason in invalid.value.reason


@pytest.mark.parametrize(
    "fields",
    [
        row(USER, CALLING),
        row(USER, BOTH, OTHER_RESULT, RESULT, ANSWER, USER, ANSWER),
        row({"role": "system", "content": "s"}, USER, CALLING, RESULT, CALLING, RESULT, ANSWER),
        row(USER, {**CALLING, "content": "Let me see."}, {**RESULT, "content": ""}, ANSWER),
        row(USER, CALLING, RESULT, ANSWER, tools=None),
    ],
)
def test_a_good_conversation_with_tools_passes(fields: dict[str, Any]) -> None:
    TASK.check(TASK.parse(fields), fields)


def test_the_field_of_tools_can_be_mapped() -> None:
    task = Instruction(InstructionTask(tools_field="functions_json"))
    fields = {"messages": [USER, CALLING, RESULT, ANSWER], "tools": "hammers", "functions_json": json.dumps(TOOLS)}
    assert task.parse(fields) == PARSED
    assert task.parse(fields | {"functions_json": ""}) == PARSED[1:]
    with pytest.raises(InvalidRow, match="has no field 'functions_json'") as invalid:
        task.parse({"messages": [USER, ANSWER]})
    assert invalid.value.absent == "spec.task.instruction.toolsField"
    with pytest.raises(InvalidRow, match="functions_json is no list of tools") as invalid:
        task.parse(fields | {"functions_json": "{}"})
    assert invalid.value.field == "functions_json"


def test_what_is_written_of_rows_with_tools_is_read_back_under_the_mapped_field() -> None:
    for mapping in (InstructionTask(), InstructionTask(tools_field="functions_json")):
        task = Instruction(mapping)
        for messages in (PARSED, PARSED[1:]):
            assert task.parse(task.record(messages)) == messages
