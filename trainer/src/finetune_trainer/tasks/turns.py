"""Whose turn it is: what a conversation must be like to be trained on."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_trainer.tasks.rows import InvalidRow, Messages
from finetune_trainer.tasks.tools import names_of
from finetune_trainer.tokenizers import Message


def check_turns(messages: Messages, names: Sequence[str]) -> None:
    """User and assistant take turns behind one system prompt, every call is answered before anybody speaks again.

    Calls at the very end need no results: to call is what is learnt. Raises InvalidRow; the last of `names` are how
    the row itself names the turns: an empty system prompt may have been left out, definitions of tools are none.
    """
    defined = names_of(messages[0]) if messages[0].role == "tools" else None
    turns = messages if defined is None else messages[1:]
    expected = "user"
    waiting: dict[str, str] = {}
    for number, (message, field) in enumerate(zip(turns, names[-len(turns) :], strict=True)):
        if message.role == "system" and number == 0:
            continue
        if message.role == "tool":
            _answer(waiting, message, field)
            continue
        if waiting:
            called = next(iter(waiting.values()))
            raise InvalidRow(
                f"{field} comes before the result of the call of {called!r}; put one tool message behind each call",
                field=field,
            )
        if message.role != expected:
            raise InvalidRow(f"{field} is the {message.role}'s where the {expected}'s should be", field=field)
        if not message.content.strip() and not message.calls:
            raise InvalidRow("empty answer" if message.role == "assistant" else "empty prompt", field=field)
        waiting = _calls(message, defined, field)
        expected = "assistant" if message.role == "user" or waiting else "user"
    if not turns or turns[-1].role != "assistant":
        raise InvalidRow("ends without an answer", field=names[-1])


def _calls(message: Message, defined: frozenset[str] | None, field: str) -> dict[str, str]:
    """Names of the tools that a message calls, by the ids of the calls."""
    if message.calls and message.role != "assistant":
        raise InvalidRow(f"{field} is the {message.role}'s and calls a tool; only an assistant can", field=field)
    called: dict[str, str] = {}
    for call in message.calls:
        if call.id in called:
            raise InvalidRow(f"{field} has two calls with the id {call.id[:40]!r}", field=field)
        if defined is not None and call.name not in defined:
            raise InvalidRow(f"{field} calls {call.name[:64]!r}, which the row's tools do not define", field=field)
        called[call.id] = call.name
    return called


def _answer(waiting: dict[str, str], message: Message, field: str) -> None:
    if message.call_id not in waiting:
        raise InvalidRow(
            f"{field} is the result of no call that waits for one; its tool_call_id must be that of a call before it",
            field=field,
        )
    del waiting[message.call_id]
