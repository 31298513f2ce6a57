"""Repairs of texts. Each has a detector and changes only what it found; what is clean comes out byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntFlag
from typing import Final

from finetune_api.spec import Cleaning
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message


class Repair(IntFlag):
    """Which repairs changed a text; the names are those of `spec.data.cleaning`."""

    NONE = 0
    BYTE_ORDER_MARKS = 1
    LINE_ENDINGS = 2
    CONTROL_CHARACTERS = 4
    TRAILING_BLANKS = 8


# Carriage returns are line endings, not control characters: each switch rules its own damage only.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")


def _without_byte_order_marks(text: str) -> str:
    return text.lstrip("\ufeff")


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _without_control_characters(text: str) -> str:
    return _CONTROL.sub("", text)


def _without_trailing_blanks(text: str) -> str:
    """The line feed that ends a last line stays; blank lines after it go."""
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    first = next((index for index, line in enumerate(lines) if line), len(lines))
    last = len(lines)
    while last > first + 1 and not lines[last - 1] and not lines[last - 2]:
        last -= 1
    return "\n".join(lines[first:last])


_REPAIRS: Final[tuple[tuple[Repair, Callable[[str], str]], ...]] = (
    (Repair.BYTE_ORDER_MARKS, _without_byte_order_marks),
    (Repair.LINE_ENDINGS, _with_line_feeds),
    (Repair.CONTROL_CHARACTERS, _without_control_characters),
    (Repair.TRAILING_BLANKS, _without_trailing_blanks),
)


def wanted(cleaning: Cleaning) -> Repair:
    """The repairs that are switched on."""
    switches = cleaning.model_dump()
    return Repair(sum(repair for repair, _ in _REPAIRS if repair.name and switches[repair.name.lower()]))


def clean_text(text: str, repairs: Repair) -> tuple[str, Repair]:
    """The repaired text, and which repairs changed it; cleaning it again changes nothing."""
    done = Repair.NONE
    damaged = True
    while damaged:  # one repair can lay bare what another is for: a mark behind blank lines
        damaged = False
        for repair, mend in _REPAIRS:
            if repair in repairs and (mended := mend(text)) != text:
                text, done, damaged = mended, done | repair, True
    return text, done


def clean_messages(messages: Messages, repairs: Repair) -> tuple[Messages, Repair]:
    """The same for all texts of a row."""
    done = Repair.NONE
    cleaned = []
    for role, content in messages:
        text, changed = clean_text(content, repairs)
        cleaned.append(Message(role, text))
        done |= changed
    return (tuple(cleaned), done) if done else (messages, done)
