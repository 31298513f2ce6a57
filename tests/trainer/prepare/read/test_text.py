"""Text files: a document each, or their paragraphs."""

from __future__ import annotations

import pytest

from finetune_api.spec import TextDocument
from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, RawRow
from raw_files import rows_of


def test_a_file_is_one_document_byte_for_byte() -> None:
    text = "\n Tab\there, é.\r\n\n\nEnd  \n"
    assert rows_of(text.encode(), "x.txt") == [RawRow(1, {"text": text})]


def test_paragraphs_are_what_stands_between_blank_lines() -> None:
    content = b"\none\n  two\n\n \t\nthree\r\n\r\nfour"
    assert rows_of(content, "x.txt", text_document=TextDocument.PARAGRAPH) == [
        RawRow(2, {"text": "one\n  two"}),
        RawRow(6, {"text": "three\r"}),
        RawRow(8, {"text": "four"}),
    ]


@pytest.mark.parametrize("document", TextDocument)
@pytest.mark.parametrize("content", [b"", b" \n\n\t"])
def test_nothing_is_no_document(document: TextDocument, content: bytes) -> None:
    assert rows_of(content, "x.txt", text_document=document) == []


def test_what_is_too_long_or_no_text_is_rejected() -> None:
    assert rows_of("é".encode() + b"\xff", "x.txt") == [BadLine(1, "not UTF-8 at byte 3")]
    (too_long,) = rows_of(b"x" * (MAX_ROW_BYTES + 1), "x.txt")
    assert too_long == BadLine(1, "longer than 16 MiB, and textDocument of its source is File")
    content = (b"x" * 1023 + b"\n") * (MAX_ROW_BYTES // 1024 + 1) + b"\n" + b"y" * (MAX_ROW_BYTES + 1) + b"\nz\n\nlast"
    *bad, last = rows_of(content, "x.txt", text_document=TextDocument.PARAGRAPH)
    assert bad == [BadLine(1, "longer than 16 MiB"), BadLine(16387, "longer than 16 MiB")]
    assert last == RawRow(16390, {"text": "last"})
