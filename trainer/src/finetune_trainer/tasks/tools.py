"""Tools in rows: their definitions, an assistant's calls and their results, as OpenAI and ShareGPT write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from finetune_trainer.tasks.rows import InvalidRow, Messages, text_of
from finetune_trainer.tokenizers import Message, ToolCall

_FIELDS: Final = ("tools", "functions")  # the second is OpenAI's older one


def definitions(fields: Mapping[str, object], *, written: str | None = None) -> Messages:
    """A message of role `tools`, or nothing where the row defines none; `written` is the row's name of the field.

    Raises InvalidRow.
    """
    found = next((name for name in _FIELDS if fields.get(name)), None)
    if found is None:
        return ()
    name = written or found
    listed = _from_json(fields[found], name)
    if listed is None or listed == []:
        return ()
    if not isinstance(listed, list):
        raise InvalidRow(f"{name} is no list of tools", field=name)
    tools = [_definition(tool, f"{name}[{index}]") for index, tool in enumerate(listed)]
    names = [tool["function"]["name"] for tool in tools]
    for index, one in enumerate(names):
        if one in names[:index]:
            raise InvalidRow(f"{name} defines {one!r} twice; name each tool once", field=f"{name}[{index}]")
    return (Message("tools", _json_of(tools, name)),)


def names_of(tools: Message) -> frozenset[str]:
    """Of the tools that a message of this role defines."""
    return frozenset(tool["function"]["name"] for tool in json.loads(tools.content))


def _definition(tool: object, place: str) -> dict[str, Any]:
    """As OpenAI writes it now: its older form, and many data sets, leave out the outer object."""
    if not isinstance(tool, dict):
        raise InvalidRow(f"{place} is no definition of a tool", field=place)
    if tool.get("type", "function") != "function" and "function" in tool:
        raise InvalidRow(f"{place} is no function, and only functions can be called", field=f"{place}.type")
    function, place = (tool["function"], f"{place}.function") if "function" in tool else (tool, place)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidRow(f"{place} has no name", field=place)
    if not isinstance(function.get("description"), str | None):
        raise InvalidRow(f"{place}.description is no text", field=f"{place}.description")
    if not isinstance(function.get("parameters"), dict | None):
        raise InvalidRow(f"{place}.parameters is no object: it must be a JSON schema", field=f"{place}.parameters")
    return {"type": "function", "function": function}


def calls_of(turn: Mapping[str, object], place: str) -> tuple[ToolCall, ...]:
    """What OpenAI's `tool_calls`, or its older `function_call`, ask for. Raises InvalidRow."""
    calls, older = turn.get("tool_calls"), turn.get("function_call")
    if calls and older:
        raise InvalidRow(f"{place} has both tool_calls and function_call; keep one", field=f"{place}.function_call")
    if older:
        return (_call(older, f"{place}.function_call"),)
    return listed_calls(calls, f"{place}.tool_calls") if calls else ()


def listed_calls(value: object, place: str) -> tuple[ToolCall, ...]:
    """One call or several, as objects or as the JSON of them. Raises InvalidRow."""
    value = _from_json(value, place)
    if isinstance(value, dict):
        return (_call(value, place),)
    if not isinstance(value, list) or not value:
        raise InvalidRow(f"{place} is no list of calls", field=place)
    return tuple(_call(call, f"{place}[{index}]") for index, call in enumerate(value))


def _call(call: object, place: str) -> ToolCall:
    if not isinstance(call, dict):
        raise InvalidRow(f"{place} is no call", field=place)
    identity = text_of(call.get("id") or "", f"{place}.id")
    function, place = (call["function"], f"{place}.function") if "function" in call else (call, place)
    if not isinstance(function, dict) or not function.get("name"):
        raise InvalidRow(f"{place} has no name", field=place)
    return ToolCall(
        identity,
        text_of(function["name"], f"{place}.name"),
        _arguments(function.get("arguments"), f"{place}.arguments"),
    )


def _arguments(value: object, place: str) -> str:
    if value is None or value == "":
        return "{}"
    if isinstance(value, str):
        if not isinstance(_from_json(value, place), dict):
            raise InvalidRow(f"{place} is no JSON object; arguments have names", field=place)
        return text_of(value, place)
    if not isinstance(value, dict):
        raise InvalidRow(f"{place} is no JSON object; arguments have names", field=place)
    return _json_of(value, place)


def result_of(value: object, place: str) -> str:
    """What a tool gave back: text, often JSON, or an object. Raises InvalidRow."""
    return _json_of(value, place) if isinstance(value, dict) else text_of("" if value is None else value, place)


def paired(messages: Messages, names: Sequence[str]) -> Messages:
    """The messages with an id for every call, and for every result that of its call. Raises InvalidRow.

    `names` are how the row names the messages.
    Calls without one are numbered; results without one answer the calls before them in their order.
    """
    if not any(message.calls or message.role == "tool" for message in messages):
        return messages
    made = 0
    waiting: list[str] = []
    named: list[Message] = []
    for message, field in zip(messages, names, strict=True):
        if message.calls:
            calls = [
                call if call.id else call._replace(id=f"call_{made + at}") for at, call in enumerate(message.calls)
            ]
            made += len(calls)
            waiting = [call.id for call in calls]
            message = message._replace(calls=tuple(calls))
        elif message.role == "tool":
            if not message.call_id and not waiting:
                raise InvalidRow(f"{field} is the result of no call", field=field)
            message = message._replace(call_id=message.call_id or waiting[0])
            waiting = [identity for identity in waiting if identity != message.call_id]
        named.append(message)
    return tuple(named)


def _from_json(value: object, place: str) -> object:
    """The value, read where it is text: columns of a table hold JSON so, and OpenAI's arguments are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRow(f"{place} is not JSON: {error}", field=place) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _json_of(value: dict[str, Any] | Sequence[dict[str, Any]], place: str) -> str:
    try:
        return text_of(json.dumps(value, ensure_ascii=False, allow_nan=False), place)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRow(f"{place} cannot be written as JSON: {error}", field=place) from error
