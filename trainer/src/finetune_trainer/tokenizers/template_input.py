"""Conversations as chat templates take them: OpenAI's messages, with arguments as objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from finetune_trainer.tokenizers.protocol import Message

Turn = dict[str, Any]


def template_input(messages: Sequence[Message]) -> tuple[list[Turn], list[dict[str, Any]] | None]:
    """The turns, and the definitions of tools where there are any."""
    tools = json.loads(messages[0].content) if messages[0].role == "tools" else None
    names: dict[str, str] = {}
    turns = []
    for message in messages if tools is None else messages[1:]:
        # Ids are of one turn: some data sets begin anew with each.
        names |= {call.id: call.name for call in message.calls}
        turns.append(_turn(message, names))
    return turns, tools


def _turn(message: Message, names: dict[str, str]) -> Turn:
    turn: Turn = {"role": message.role, "content": message.content}
    if message.calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        turn |= {"tool_call_id": message.call_id, "name": names[message.call_id]}
    return turn


def texts_of(value: Any) -> Iterator[str]:
    """Every text in it, names of members included."""
    match value:
        case str():
            yield value
        case list():
            for member in value:
                yield from texts_of(member)
        case dict():
            for name, member in value.items():
                yield name
                yield from texts_of(member)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with each text in it changed."""
    match value:
        case str():
            return change(value)
        case list():
            return [with_texts(member, change) for member in value]
        case dict():
            return {change(name): with_texts(member, change) for name, member in value.items()}
    return value
