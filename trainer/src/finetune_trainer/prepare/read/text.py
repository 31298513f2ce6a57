"""Plain text: a whole file is one document, or each of its paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from finetune_api.spec import TextDocument
from finetune_trainer.prepare.read.encoding import Notes, decoded
from finetune_trainer.prepare.read.lines import lines_of
from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES, BadLine, RawRow

FIELD: Final = "text"
"""The one field of such a row."""


def rows_of_text(blocks: Iterator[bytes], notes: Notes, document: TextDocument) -> Iterator[RawRow | BadLine]:
    """The rows of a text in UTF-8; a document without a letter is none."""
    if document is TextDocument.PARAGRAPH:
        yield from _paragraphs(blocks, notes)
    elif row := _whole(blocks, notes):
        yield row


def _whole(blocks: Iterator[bytes], notes: Notes) -> RawRow | BadLine | None:
    content = bytearray()
    for block in blocks:
        content += block
        if len(content) > MAX_ROW_BYTES:
            return BadLine(1, f"longer than {MAX_ROW_BYTES >> 20} MiB, and textDocument of its source is File")
    return _document(1, bytes(content), notes) if content.strip() else None


def _paragraphs(blocks: Iterator[bytes], notes: Notes) -> Iterator[RawRow | BadLine]:
    lines: list[bytes] = []
    size = start = 0
    for number, line in enumerate(_ended(blocks), start=1):
        if line is None:
            size = MAX_ROW_BYTES + 1
            start = start or number
        elif line.strip():
            start = start or number
            size += len(line) + 1
            if size <= MAX_ROW_BYTES:
                lines.append(line)
        elif start:
            yield _paragraph(start, size, lines, notes)
            lines, size, start = [], 0, 0


def _ended(blocks: Iterator[bytes]) -> Iterator[bytes | None]:
    """The lines, and a blank one: the end of a file ends a paragraph too."""
    yield from lines_of(blocks)
    yield b""


def _paragraph(start: int, size: int, lines: list[bytes], notes: Notes) -> RawRow | BadLine:
    if size > MAX_ROW_BYTES:
        return BadLine(start, f"longer than {MAX_ROW_BYTES >> 20} MiB")
    return _document(start, b"\n".join(lines), notes)


def _document(start: int, content: bytes, notes: Notes) -> RawRow | BadLine:
    try:
        return RawRow(start, {FIELD: decoded(content, notes.encoding)})
    except ValueError as error:
        return BadLine(start, str(error))
