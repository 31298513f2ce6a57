"""The names of what cleaning does to a text: those of `spec.data.cleaning`."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag

from finetune_trainer.prepare.clean.context import RowContext

Mend = Callable[[str, RowContext], str]
"""The text without the damage, or the very same text where none is found."""


class Step(IntFlag):
    """Repairs first, then rewrites, in the order in which they are applied."""

    NONE = 0
    EMPTY_TEXTS = 1
    MOJIBAKE = 2
    CONTROL_CHARACTERS = 4
    LINE_ENDINGS = 8
    BYTE_ORDER_MARKS = 16
    HTML = 32
    HTML_ENTITIES = 64
    INVISIBLE_CHARACTERS = 128
    RUNAWAY_SPACES = 256
    TRAILING_BLANKS = 512
    UNICODE_COMPOSITION = 1024
    TAGS = 2048
    BOILERPLATE_LINES = 4096
    WHITESPACE = 8192
    PERSONAL_DATA = 16384
