"""What reading gives: raw rows, rows that cannot be read, and the bounds within which both stay."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_ROW_BYTES: Final = 16 << 20
"""A longer row is rejected unread: no row of text is that long, a file that is not what its name says may be."""
MAX_MEMBERS: Final = 100_000
"""Of all lists and objects of a row together; parsed, each takes fifty times its two bytes of text."""
MAX_DEPTH: Final = 64
"""Of lists and objects within each other."""


class RawRow(NamedTuple):
    """A row's fields by name."""

    line: int
    """Where it begins, counted from 1; in columnar files and JSON arrays the number of the row."""
    fields: dict[str, object]


class BadLine(NamedTuple):
    """A row that cannot be read."""

    line: int
    reason: str


class Unreadable(Exception):
    """From here on the object cannot be read, for the reason given; no row of the rest can be told."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        """`line` is where it went wrong, if that is not behind the last row."""
        super().__init__(reason)
        self.line = line


def place(uri: str, line: int) -> str:
    """`file:line`, short enough for a Result."""
    shown = uri if len(uri) <= 240 else f"…{uri[-239:]}"
    return f"{shown}:{line}"
