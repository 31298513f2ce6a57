"""What tasks are given and give back, and how they say that a row is of no use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from finetune_api.spec import Overlong
from finetune_trainer.tokenizers import Encoded, Message

Messages = tuple[Message, ...]

OF_TOOLS: Final = frozenset({"tools", "tool"})
"""Roles whose content tools are made of or give back: nobody says it."""

_KINDS: Final = {
    type(None): "null",
    dict: "an object",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


@dataclass(frozen=True)
class Document:
    """What is trained in one piece, with its texts for the report."""

    encoded: Encoded
    prompt: str
    """What the last answer answers."""
    answer: str
    labels: tuple[str, ...] = ()
    """Of a task whose rows have labels."""
    items: int | None = None
    """What the loss is a mean over; absent: its trained tokens."""
    cut: bool = False
    """Whether some of its row was left out to make it fit."""


@dataclass(frozen=True)
class Room:
    """How long a document may be, and what becomes of a row that does not fit."""

    tokens: int
    overlong: Overlong = Overlong.REJECT


class InvalidRow(Exception):
    """The row is wrong: it is listed as rejected and counts towards `spec.data.maxBadRowPercent`."""

    def __init__(self, reason: str, *, field: str | None = None, absent: str | None = None) -> None:
        """`field` is the row's own; `absent` the field of the spec that maps it, when the row does not have it."""
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.absent = absent


class TooLong(Exception):
    """The row does not fit; an answer is never cut, for one that is cut teaches to stop there."""

    def __init__(self, what: str, room: int) -> None:
        """`what` has how many tokens; `room` is how many it may have."""
        super().__init__(f"{what}, spec.training.sequenceLength is {room}")
        self.what = what
        self.room = room

    def __reduce__(self) -> tuple[type[TooLong], tuple[str, int]]:
        return type(self), (self.what, self.room)


class EmptyRow(Exception):
    """There is nothing to learn: the row is listed as removed, and never a failure."""


def too_long(documents: Iterable[Document], room: Room) -> TooLong:
    """What to raise where nothing can be left out."""
    return TooLong(f"{max(len(document.encoded.ids) for document in documents)} tokens", room.tokens)


def field_of(fields: Mapping[str, object], name: str, *, mapped_by: str) -> object:
    """What stands in `name`. Raises InvalidRow."""
    if name not in fields:
        raise InvalidRow(f"has no field {name!r}", field=name, absent=mapped_by)
    return fields[name]


def text_of(value: object, field: str) -> str:
    """A string that can be written as UTF-8. Raises InvalidRow."""
    if not isinstance(value, str):
        raise InvalidRow(f"{field} is {_kind(value)}, not text", field=field)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRow(f"{field} holds half a surrogate pair", field=field) from error
    return value


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
