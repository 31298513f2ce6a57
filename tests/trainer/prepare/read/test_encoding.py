"""Encodings told by file, and bytes that are none by row."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import BadLine, Encoding, Notes, RawRow
from finetune_trainer.prepare.read.compression import BLOCK_BYTES
from finetune_trainer.prepare.read.encoding import as_utf8
from raw_files import rows_of

FRENCH = "Où est passé l’été ? « Là-bas », répondit-elle – à 5 €."
GERMAN = "Größe, Öl, Übermaß, süß, heiß"
SCRIPTS = {
    "Arabic": "السلام عليكم",
    "Chinese": "今天天气很好",
    "Devanagari": "नमस्ते दुनिया",
    "Greek": "Καλημέρα κόσμε",
    "Hangul": "안녕하세요",
    "Hebrew": "שלום עולם",
    "Japanese": "こんにちは世界",
    "Russian": "Привет, мир",
    "Thai": "สวัสดีชาวโลก",
    "emoji": "👩‍👩‍👧 🇩🇪",
}


def texts_of(content: bytes, notes: Notes | None = None) -> list[object]:
    rows = rows_of(content, "x.jsonl", notes=notes)
    return [row.fields["a"] if isinstance(row, RawRow) else row for row in rows]


def lines(*texts: str) -> str:
    return "".join(f'{{"a": "{text}"}}\n' for text in texts)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("utf-8", Encoding.UTF_8),
        ("utf-8-sig", Encoding.UTF_8),
        ("utf-16", Encoding.UTF_16),
        ("utf-16-le", Encoding.UTF_16),
        ("utf-16-be", Encoding.UTF_16),
        ("cp1252", Encoding.CP1252),
    ],
)
@pytest.mark.parametrize("text", [FRENCH, GERMAN])
def test_a_file_is_read_in_its_own_encoding(codec: str, expected: Encoding, text: str) -> None:
    notes = Notes()
    assert texts_of(lines("plain", text).encode(codec), notes) == ["plain", text]
    assert notes.encoding is expected


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_every_script_survives(codec: str, text: str) -> None:
    assert texts_of(lines(text, text).encode(codec)) == [text, text]


def test_the_first_letter_outside_ascii_may_come_late_or_be_cut_by_a_block() -> None:
    plain = lines("x" * 100) * (BLOCK_BYTES // 109)
    for codec in ("utf-8", "cp1252"):
        for shift in range(4):
            content = (plain + " " * (BLOCK_BYTES - len(plain) - 8 - shift) + lines("é", "b", "ü")).encode(codec)
            assert texts_of(content)[-3:] == ["é", "b", "ü"]


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=5),
    st.sampled_from(["utf-8", "utf-16"]),
    st.integers(1, 7),
)
def test_where_blocks_end_changes_nothing(texts: list[str], codec: str, size: int) -> None:
    # Something that no other encoding would have, so that little text is told as surely as much.
    content = "".join(["\u2028日", *texts]).encode(codec)
    first, rest = content[:16], content[16:]
    blocks = chain([first], (rest[start : start + size] for start in range(0, len(rest), size)))
    assert b"".join(as_utf8(blocks, Notes())).decode() == "".join(["\u2028日", *texts])


@pytest.mark.parametrize(
    ("content", "bad"),
    [
        (lines("é").encode() + b'{"a": "\xff"}\n' + lines("b").encode(), "not UTF-8 at byte 8"),
        (lines("é").encode() + b'{"a": "\xed\xa0\x80"}\n' + lines("b").encode(), "not UTF-8 at byte 8"),
        (lines("é").encode() + b'{"a": "\xc0\xaf"}\n' + lines("b").encode(), "not UTF-8 at byte 8"),
        (lines("é", "\ud800", "b").encode("utf-16", "surrogatepass"), "not UTF-16"),
        (lines("é").encode("cp1252") + b'{"a": "\x81"}\n' + lines("b", *"äöüß" * 3).encode("cp1252"), "not cp1252"),
    ],
)
def test_bytes_that_are_no_text_cost_their_row_only(content: bytes, bad: str) -> None:
    assert texts_of(content)[:3] == ["é", BadLine(2, bad), "b"]


def test_half_a_character_at_the_end_costs_the_last_row() -> None:
    assert texts_of(lines("é", "b").encode("utf-16")[:-1]) == ["é", BadLine(2, "not UTF-16")]


@pytest.mark.parametrize("codec", ["cp1251", "shift-jis", "gb18030", "iso-8859-7"])
def test_what_is_no_western_text_is_not_taken_for_one(codec: str) -> None:
    text = {"cp1251": "Russian", "shift-jis": "Japanese", "gb18030": "Chinese", "iso-8859-7": "Greek"}[codec]
    rows = rows_of(lines(*[SCRIPTS[text].replace(" ", "")] * 5).encode(codec), "x.jsonl")
    assert {row.reason[:9] for row in rows if isinstance(row, BadLine)} == {"not UTF-8"}
    assert len(rows) == sum(isinstance(row, BadLine) for row in rows)


def test_a_file_that_turns_into_another_encoding_is_no_text_from_there_on() -> None:
    content = lines("é").encode("cp1252") + lines("x" * 200).encode() * (2 * BLOCK_BYTES // 200) + lines("é").encode()
    with pytest.raises(StageFailed, match=r"x\.jsonl is damaged after row \d+: it is cp1252 so far and UTF-8"):
        rows_of(content, "x.jsonl")
