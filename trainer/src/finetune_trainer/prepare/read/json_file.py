"""A .json file: an array of objects, objects one after the other, or JSON Lines under another name."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from finetune_trainer.prepare.read.compression import BLOCK_BYTES
from finetune_trainer.prepare.read.encoding import Notes
from finetune_trainer.prepare.read.json_lines import rows_of_lines
from finetune_trainer.prepare.read.json_value import excess
from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES, BadLine, RawRow, Unreadable

_BLANKS: Final = re.compile(r"[ \t\r\n]*")


def rows_of_json_file(blocks: Iterator[bytes], notes: Notes) -> Iterator[RawRow | BadLine]:
    """The rows of a text in UTF-8, by number; those of JSON Lines by line. Raises Unreadable where an array breaks."""
    seen: list[bytes] = []
    for block in blocks:
        seen.append(block)
        if start := block.lstrip():
            break
    else:
        return
    text = chain(seen, blocks)
    if _is_line(start):
        return (yield from rows_of_lines(text, notes))
    yield from _Values(text).rows(array=start.startswith(b"["))


def _is_line(start: bytes) -> bool:
    """Whether the first line is an object of its own, with another line behind it."""
    line, feed, _ = start.partition(b"\n")
    try:
        return bool(feed) and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class _Values:
    """JSON values out of a text of any length; what was read is forgotten."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._line = self._column = 1

    def rows(self, *, array: bool) -> Iterator[RawRow | BadLine]:
        number = 0
        if array:
            self._peek()
            self._at += 1
        while (found := self._peek()) and not (array and found == "]"):
            if array and number:
                if found != ",":
                    raise self._broken("a ',' or the end of the array is expected", self._at)
                self._at += 1
                self._peek()
            number += 1
            yield self._row(number)
        if array:
            if not found:
                raise self._broken("the array does not end", self._at)
            self._at += 1
            if self._peek():
                raise self._broken("something stands behind the array", self._at)

    def _row(self, number: int) -> RawRow | BadLine:
        start = self._at
        value = self._value()
        content = self._held(start, self._at)
        if len(content) > MAX_ROW_BYTES:
            return BadLine(number, f"longer than {MAX_ROW_BYTES >> 20} MiB")
        if too_large := excess(content):
            return BadLine(number, too_large)
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return BadLine(number, "not UTF-8")
        return RawRow(number, value) if isinstance(value, dict) else BadLine(number, "not a JSON object")

    def _value(self) -> object:
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                # Broken, or not whole yet: nobody can tell before there is more.
                reason, offset = error.msg.removesuffix(" at"), error.pos - self._at
                held = len(self._text) - self._at
                if held > MAX_ROW_BYTES:
                    raise self._broken(f"{reason}, or longer than {MAX_ROW_BYTES >> 20} MiB", error.pos) from error
                # Where a value ends is known when it is parsed, and then there would be millions of members.
                if held >= BLOCK_BYTES and (too_large := excess(self._held(self._at, len(self._text)))):
                    raise Unreadable(f"what begins there has {too_large}", line=self._where(self._at)[0]) from error
                if not self._more():
                    raise self._broken(reason, self._at + offset) from error
            except (ValueError, RecursionError) as error:
                raise self._broken(str(error), self._at) from error
            else:
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value

    def _held(self, start: int, stop: int) -> bytes:
        # Decoded from bytes that are no UTF-8, the text holds halves of surrogate pairs.
        return self._text[start:stop].encode("utf-8", "surrogatepass")

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end. Forgets what lies before it."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, twice as much each time for one value: so trying again costs no more than reading."""
        self._line, self._column = self._where(self._at)
        self._text = self._text[self._at :]
        self._at = 0
        wanted = max(1, len(self._text))
        pieces = []
        while wanted > 0 and (block := next(self._blocks, b"")):
            pieces.append(self._decode(block))
            wanted -= len(pieces[-1])
        self._text += "".join(pieces)
        return bool(pieces)

    def _broken(self, reason: str, position: int) -> Unreadable:
        line, column = self._where(position)
        return Unreadable(f"not JSON in line {line} at column {column}: {reason}", line=line)

    def _where(self, position: int) -> tuple[int, int]:
        """Line and column of a position in the text that is held."""
        feed = self._text.rfind("\n", 0, position)
        column = self._column + position if feed < 0 else position - feed
        return self._line + self._text.count("\n", 0, position), column
