"""The shapes that rows come in, and the texts of each: pairs, Alpaca, OpenAI messages and ShareGPT conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from finetune_trainer.tasks.rows import InvalidRow, Messages, text_of
from finetune_trainer.tasks.tools import calls_of, listed_calls, result_of
from finetune_trainer.tokenizers import Message


class Shape(StrEnum):
    """What a row looks like, as the report says it."""

    MESSAGES = "messages"
    CONVERSATIONS = "conversations (ShareGPT)"
    PAIR = "prompt and completion"
    ALPACA = "instruction and output (Alpaca)"
    LABELLED = "text and label"
    PREFERENCE = "chosen and rejected"
    TEXT = "text"
    UNKNOWN = "unknown"


_FIELDS: Final = (
    (Shape.MESSAGES, ({"messages"},)),
    (Shape.CONVERSATIONS, ({"conversations"},)),
    (Shape.PAIR, ({"prompt", "completion"},)),
    (Shape.ALPACA, ({"instruction", "output"},)),
    (Shape.PREFERENCE, ({"chosen", "rejected"},)),
    (Shape.LABELLED, ({"text", "label"}, {"text", "labels"})),
    (Shape.TEXT, ({"text"},)),
)
_ROLES: Final = {
    "system": "system",
    "developer": "system",  # OpenAI's newer name for it
    "user": "user",
    "assistant": "assistant",
    "human": "user",  # ShareGPT
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",  # OpenAI's older name for it
    "observation": "tool",  # ShareGPT
    "tool_response": "tool",
    "function_response": "tool",
    "ipython": "tool",  # Llama
}
_CALLING_ROLES: Final = frozenset({"function_call", "tool_call"})
"""ShareGPT's assistant when it calls: what it says is the JSON of the calls."""


def detect(fields: Mapping[str, object]) -> Shape:
    """The first shape of which the row has all fields; those that hold null count only if there are no others."""
    return _detect({name for name, value in fields.items() if value is not None}) or _detect(fields) or Shape.UNKNOWN


def _detect(names: Iterable[str]) -> Shape | None:
    present = set(names)
    return next((shape for shape, needed in _FIELDS if any(one <= present for one in needed)), None)


def conversation(fields: Mapping[str, object], name: str) -> Messages:
    """The turns of the list in `name`, each `{role, content}` or `{from, value}`. Raises InvalidRow."""
    turns = fields[name]
    if not isinstance(turns, list) or not turns:
        raise InvalidRow(f"{name} is no list of messages", field=name)
    return tuple(_turn(turn, f"{name}[{index}]") for index, turn in enumerate(turns))


def named_turns(fields: Mapping[str, object], name: str) -> list[str]:
    """What each turn in the field is called: its place in a list, or the field itself."""
    value = fields[name]
    return [f"{name}[{index}]" for index in range(len(value))] if isinstance(value, list) else [name]


def _turn(turn: object, place: str) -> Message:
    if not isinstance(turn, dict):
        raise InvalidRow(f"{place} has no role and content", field=place)
    of_role, of_content = ("from", "value") if "role" not in turn and "from" in turn else ("role", "content")
    if of_role not in turn:
        raise InvalidRow(f"{place} has no role and content", field=place)
    spoken = text_of(turn[of_role], f"{place}.{of_role}")
    if turn.get("weight") not in (None, 1, True):
        raise InvalidRow(f"{place} has a weight other than 1: every answer is trained alike", field=f"{place}.weight")
    if spoken in _CALLING_ROLES:
        return Message("assistant", "", listed_calls(turn.get(of_content), f"{place}.{of_content}"))
    if spoken not in _ROLES:
        raise InvalidRow(f"{place} has the unknown role {spoken[:40]!r}", field=f"{place}.{of_role}")
    role, content, within = _ROLES[spoken], turn.get(of_content), f"{place}.{of_content}"
    if role == "tool":
        result = _content(content, within) if isinstance(content, list) else result_of(content, within)
        return Message(role, result, call_id=text_of(turn.get("tool_call_id") or "", f"{place}.tool_call_id"))
    calls = calls_of(turn, place)
    if of_content not in turn and not calls:
        raise InvalidRow(f"{place} has no role and content", field=place)
    return Message(role, "" if calls and content is None else _content(content, within), calls)


def _content(value: object, place: str) -> str:
    """A text, or OpenAI's list of parts where it is one text: how several are joined, no two programs agree."""
    if not isinstance(value, list):
        return text_of(value, place)
    if len(value) != 1:
        raise InvalidRow(f"{place} is a list of {len(value)} parts; it may be one part of text", field=place)
    (part,) = value
    if not isinstance(part, dict) or part.get("type") != "text":
        raise InvalidRow(f"{place}[0] is no text, and only text can be trained on", field=f"{place}[0]")
    return text_of(part.get("text"), f"{place}[0].text")


def pair(prompt: object, completion: object, prompt_name: str, completion_name: str) -> Messages:
    """A prompt and its answer: two texts, or two lists of messages of which only the last is an answer."""
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = (
            *conversation({prompt_name: prompt}, prompt_name),
            *conversation({completion_name: completion}, completion_name),
        )
        if any(turn.role == "assistant" for turn in turns[: len(prompt)]):
            raise InvalidRow(
                f"{prompt_name} holds an answer, which would be trained too; put both into messages", field=prompt_name
            )
        return turns
    return (
        Message("user", text_of(prompt, prompt_name)),
        Message("assistant", text_of(completion, completion_name)),
    )


def with_material(prompt: str, material: object, name: str) -> str:
    """The prompt, and under it what it is about."""
    text = text_of(material or "", name)
    return f"{prompt}\n\n{text}" if text.strip() else prompt


def with_system(messages: Messages, system: object, name: str) -> Messages:
    """The messages behind the row's own system prompt, if it has one and they have none."""
    text = text_of(system or "", name)
    if not text.strip():
        return messages
    if messages[0].role == "system":
        raise InvalidRow(f"{name} and the first message are both a system prompt", field=name)
    return (Message("system", text), *messages)


def with_history(messages: Messages, history: object, name: str) -> Messages:
    """The messages behind earlier pairs of prompt and answer, as Alpaca rows may have."""
    if history is None or history == []:
        return messages
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise InvalidRow(f"{name} is no list of pairs", field=name)
    earlier = [
        message
        for index, (prompt, answer) in enumerate(history)
        for message in pair(prompt, answer, f"{name}[{index}][0]", f"{name}[{index}][1]")
    ]
    return (*earlier, *messages)
