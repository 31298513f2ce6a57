"""CSV and TSV: a header, then rows whose quoted fields may hold line feeds."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final

from finetune_trainer.prepare.read.encoding import Notes
from finetune_trainer.prepare.read.lines import lines_of
from finetune_trainer.prepare.read.rows import MAX_MEMBERS, MAX_ROW_BYTES, BadLine, RawRow, Unreadable

_DELIMITERS: Final = (",", ";", "\t")
_MANY: Final = 1000
"""Delimiters of a line, from which on those within quotes are told apart."""
_QUOTED: Final = re.compile(rb'"[^"]*+"')


def rows_of_table(blocks: Iterator[bytes], notes: Notes, delimiter: str | None) -> Iterator[RawRow | BadLine]:
    """The rows of a text in UTF-8, by their first lines; blank lines are none.

    Without a `delimiter` it is what the header has most of: `,`, or what some spreadsheets write, `;` or a tab.
    Raises Unreadable where the header is none, or a quote never ends.
    """
    # Python's own limit, for the whole process, is 128 KiB.
    csv.field_size_limit(MAX_ROW_BYTES)
    feed = _Feed(lines_of(blocks))
    head = feed.first_line()
    if head is None:
        return
    chosen = delimiter or max(_DELIMITERS, key=head.count)
    feed.delimiter = chosen.encode()
    reader = csv.reader(feed, delimiter=chosen, strict=True)
    header: list[str] | None = None
    while True:
        feed.begin_row()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _RowTooLarge) as error:
            if feed.ended:
                raise Unreadable("a quote that opens in this row is never closed", line=feed.row_line) from error
            if header is None:
                raise Unreadable(f"the header is no row: {error}", line=feed.row_line) from error
            # Lines that a stray quote has joined are rows of their own, as far as anyone can tell.
            yield from (BadLine(line, str(error)) for line in range(feed.row_line, feed.line + 1))
            continue
        if not fields:
            continue
        if header is None:
            header = _checked(fields, feed.row_line)
        else:
            yield _row(feed.row_line, header, fields, notes)


def _checked(header: list[str], line: int) -> list[str]:
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise Unreadable(f"the header names column {header.index(twice[0]) + 1} twice", line=line)
    return header


def _row(line: int, header: list[str], fields: list[str], notes: Notes) -> RawRow | BadLine:
    if len(fields) != len(header):
        return BadLine(line, f"{len(fields)} columns where the header has {len(header)}")
    try:
        for field in fields:
            field.encode()
    except UnicodeEncodeError:
        return BadLine(line, f"not {notes.encoding}")
    return RawRow(line, dict(zip(header, fields, strict=True)))


class _RowTooLarge(Exception):
    pass


class _Feed:
    """Lines as the csv module wants them, counted; of one row never more than MAX_ROW_BYTES."""

    def __init__(self, lines: Iterator[bytes | None]) -> None:
        self._lines = lines
        self._ahead: list[bytes | None] = []
        self._row_bytes = 0
        self._row_delimiters = 0
        self.delimiter = b","
        self.line = 0
        self.row_line = 0
        self.ended = False

    def first_line(self) -> str | None:
        """The first line that is not blank; it is read again. None when there is none."""
        for line in self._lines:
            self._ahead.append(line)
            if line is None:
                raise Unreadable(f"the header is longer than {MAX_ROW_BYTES >> 20} MiB", line=len(self._ahead))
            if line.strip():
                self._lines = chain(self._ahead, self._lines)
                return line.decode("utf-8", "replace")
        return None

    def begin_row(self) -> None:
        self._row_bytes = self._row_delimiters = 0
        self.row_line = self.line + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.line += 1
        if line is None:
            raise _RowTooLarge(f"longer than {MAX_ROW_BYTES >> 20} MiB")
        self._row_bytes += len(line) + 1
        if self._row_bytes > MAX_ROW_BYTES + 1:
            reason = f"a quote that opens in this row is not closed within {MAX_ROW_BYTES >> 20} MiB"
            raise Unreadable(reason, line=self.row_line)
        self._count(line)
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _count(self, line: bytes) -> None:
        """Columns are counted before they are made: each takes fifty times its delimiter."""
        if self.line > self.row_line:  # a row goes on only within a quoted field
            line = b'"' + line if b'"' in line else b""
        many = line.count(self.delimiter)
        if many >= _MANY:
            many = _QUOTED.sub(b"", line).partition(b'"')[0].count(self.delimiter)
        self._row_delimiters += many
        if self._row_delimiters >= MAX_MEMBERS:
            raise _RowTooLarge(f"more than {MAX_MEMBERS} columns")
