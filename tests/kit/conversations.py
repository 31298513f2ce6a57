"""Conversations of every form that Mistral's versions tell apart, with what each of them must make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message, ToolCall

TOOLS = Message(
    "tools",
    json.dumps(
        [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": f"Says the {name} — “now”.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                },
            }
            for name in ("weather", "time")
        ],
        ensure_ascii=False,
    ),
)
SYSTEM = Message("system", "Answer briefly, in the user's language.\n")


def _call(number: int, name: str, arguments: str = '{"city": "Tromsø",  "n": 1.50}') -> ToolCall:
    return ToolCall(f"call{number:05d}", name, arguments)


ASKED = (Message("user", "What is 1 + 1?"), Message("assistant", "It is 2."))
AGAIN = (
    Message("user", "  Tell me  more — 日本?\n\n```py\n\tx = 1\n```"),
    Message("assistant", "  Indented\n\n  answer  "),
)
CALLED = (Message("user", "Rain in Tromsø?"), Message("assistant", "", (_call(1, "weather"),)))
ANSWERED = (
    *CALLED,
    Message("tool", '{"rain":true, "mm": 1.0}', call_id="call00001"),
    Message("assistant", "Yes."),
)
ASKED_TWICE = (
    Message("user", "Rain, and the time?"),
    Message("assistant", "", (_call(2, "weather", "{}"), _call(3, "time"))),
    Message("tool", "12:00", call_id="call00003"),
    Message("tool", "", call_id="call00002"),
    Message("assistant", "Noon, dry."),
)
CHAINED = (
    Message("user", "The time where it rains?"),
    Message("assistant", "", (_call(4, "weather"),)),
    Message("tool", "[1, 2]", call_id="call00004"),
    Message("assistant", "", (_call(5, "time"),)),
    Message("tool", "noon", call_id="call00005"),
    Message("assistant", "At noon."),
)
TALKING = (Message("user", "Rain?"), Message("assistant", "Let me see.", (_call(6, "weather"),)))

PLAIN: tuple[Messages, ...] = (ASKED, AGAIN, (*ASKED, *AGAIN), (*ASKED, *AGAIN, *ASKED))
WITH_CALLS: tuple[Messages, ...] = (
    CALLED,
    ANSWERED,
    (*ASKED, *ANSWERED),
    (*ANSWERED, *ASKED, *AGAIN),
    (*CHAINED, *CALLED),
)
WITH_SEVERAL_CALLS: tuple[Messages, ...] = (ASKED_TWICE, (*ASKED_TWICE, *ASKED), (*ASKED, *ASKED_TWICE, *ANSWERED))
WITH_WORDS_AND_CALLS: tuple[Messages, ...] = (TALKING, (*ASKED, *TALKING))


def conversations(version: int) -> Iterator[Messages]:
    """All that a tokenizer of this version can encode."""
    turns = [*PLAIN]
    if version >= 2:
        turns += WITH_CALLS
    if version >= 3:
        turns += WITH_SEVERAL_CALLS
    if version >= 7:
        turns += WITH_WORDS_AND_CALLS
    for row, system, tools in product(turns, ((), (SYSTEM,)), ((), (TOOLS,)) if version >= 2 else ((),)):
        yield (*tools, *system, *row)


def refused(version: int) -> Iterator[tuple[Messages, str]]:
    """What it cannot, with a part of the reason."""
    if version == 1:
        yield from ((row, "only v2 and later know tools") for row in ((TOOLS, *ASKED), ANSWERED))
    elif version < 7:
        yield from ((row, "leave the text out") for row in WITH_WORDS_AND_CALLS)
        if version == 2:
            yield from ((row, "call one tool a turn") for row in WITH_SEVERAL_CALLS)
