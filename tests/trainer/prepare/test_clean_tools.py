"""What cleaning leaves alone where tools are: it will come like this again, and is often JSON."""

from __future__ import annotations

import json
from typing import Any

from finetune_api.spec import Cleaning, PersonalData
from finetune_trainer.prepare.clean import Cleaner
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message, ToolCall

REPAIRS = Cleaner(Cleaning())


def cleaner_with(**switches: Any) -> Cleaner:
    return Cleaner(Cleaning(**switches))


DAMAGED = "caf\u00c3\u00a9 &amp;amp; \ufeff\u200bx\r\n\r\n\r\n\r\n  <p>hi</p>   \x07"


def tool_row(text: str) -> Messages:
    as_json = json.dumps({"text": text, "n": [1, 2.50, True, None]}, indent=1)
    return (
        Message("tools", json.dumps([{"type": "function", "function": {"name": "f", "description": text}}])),
        Message("user", "Ask the tool, please."),
        Message("assistant", "", (ToolCall("call_1", "f", as_json),)),
        Message("tool", text, call_id="call_1"),
        Message("assistant", "", (ToolCall("call_2", "f", "{}"),)),
        Message("tool", as_json, call_id="call_2"),
        Message("assistant", "It says so."),
    )


def test_what_tools_are_given_and_give_back_stays_as_it_is() -> None:
    for cleaner in (REPAIRS, cleaner_with(tags=True, whitespace=True, unicode_composition=True)):
        row = tool_row(DAMAGED)
        assert cleaner.messages(row) == (row, Step.NONE)


def test_what_is_said_around_tools_is_repaired() -> None:
    row = (
        Message("tools", "[]"),
        Message("system", "\u200b"),
        *tool_row("x")[1:-1],
        Message("assistant", "Yes.\r\nYes."),
    )
    cleaned, done = REPAIRS.messages(row)
    assert cleaned == (Message("tools", "[]"), *tool_row("x")[1:-1], Message("assistant", "Yes.\nYes."))
    assert Step.LINE_ENDINGS in done
    assert Step.EMPTY_TEXTS in done
    assert REPAIRS.messages(cleaned) == (cleaned, Step.NONE)


def test_personal_data_is_masked_in_what_tools_are_given_and_what_they_say_is_still_json() -> None:
    cleaner = cleaner_with(personal_data=tuple(PersonalData))
    secret = "Write to jo@example.org."
    cleaned, done = cleaner.messages(tool_row(secret))
    assert done == Step.PERSONAL_DATA
    assert cleaned == tool_row("Write to [EMAIL].")[:2] + tuple(
        message._replace(
            calls=tuple(call._replace(arguments=_compact(call.arguments)) for call in message.calls),
            content=_compact(message.content) if message.call_id == "call_2" else message.content,
        )
        for message in tool_row("Write to [EMAIL].")[2:]
    )
    assert cleaner.messages(cleaned) == (cleaned, Step.NONE)
    numbers = Message("tool", '{"card": 4111111111111111, "order": 4111111111111112}', call_id="call_2")
    masked, _ = cleaner.messages((*tool_row("x")[:5], numbers))
    assert json.loads(masked[-1].content) == {"card": "[CARD]", "order": 4111111111111112}


def _compact(text: str) -> str:
    return text if text == "{}" else json.dumps(json.loads(text), ensure_ascii=False)


def test_filters_look_at_what_is_said() -> None:
    row = tool_row("Das ist ein langer deutscher Text, den das Werkzeug zurückgibt, und noch ein Satz dazu.")
    english = (
        *row[:-1],
        Message("assistant", "This is a long English sentence that says what the tool has given back."),
    )
    assert cleaner_with(languages=("en",)).refusal(english) is None
    assert cleaner_with(min_characters=1000).refusal(english) is not None
