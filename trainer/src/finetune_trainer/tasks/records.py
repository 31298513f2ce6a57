"""Messages as a row of raw data: what people read, and what another job can have as its source."""

from __future__ import annotations

import json
from collections.abc import Mapping

from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message


def turns(messages: Messages) -> list[dict[str, object]]:
    """As OpenAI writes them, with calls and results of tools; nothing of a message is left out."""
    return [_turn(message) for message in messages]


def tools(definitions: Message, name: str) -> Mapping[str, object]:
    """The field `name` of a row, which defines them."""
    return {name: json.loads(definitions.content)}


def _turn(message: Message) -> dict[str, object]:
    turn: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.call_id:
        turn["tool_call_id"] = message.call_id
    return turn
