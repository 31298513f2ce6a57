"""Which encoding a text has, told by its bytes, and the same text in UTF-8.

A mark at the start is believed. Without one, half of the bytes being NUL means UTF-16. All else is ASCII until the
first other byte: from that block on it is UTF-8, or cp1252 where nothing is UTF-8 and the bytes make sense as Western
letters and quotes. What the encoding does not know comes out as no UTF-8 either, so that its row alone is rejected.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final

from finetune_trainer.prepare.read.rows import Unreadable


class Encoding(StrEnum):
    """Of a whole object."""

    UTF_8 = "UTF-8"
    UTF_16 = "UTF-16"
    CP1252 = "cp1252"


@dataclass
class Notes:
    """What reading found out of an object."""

    encoding: Encoding | None = None
    """None: it is no text."""


_PACKED: Final = {
    b"\x1f\x8b": "gzip; its name must end with .gz",
    b"\x28\xb5\x2f\xfd": "zstd; its name must end with .zst",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack or export it",
    b"PAR1": "Parquet; its name must end with .parquet",
    b"ARROW1": "Arrow; its name must end with .arrow",
    b"BZh": "bzip2; pack it with gzip or zstd",
    b"\xfd7zXZ\x00": "xz; pack it with gzip or zstd",
    b"%PDF-": "PDF; extract its text",
    b"SQLite format 3\x00": "a SQLite database; export its rows",
}
_SEQUENCE: Final = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_PAIR: Final = re.compile(rb"[\x80-\xff](?=[\x80-\xff])")
# Letters of Western languages, typographic quotes and dashes, and few signs; 0xff is what broken files are full of.
_WESTERN: Final = re.compile(
    rb"[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f\xa0-\xa3\xa7\xa9\xab\xae\xb0\xb4\xb5\xb7\xbb\xbf\xc0-\xd6\xd8-\xf6\xf8-\xfe]"
)


def as_utf8(blocks: Iterator[bytes], notes: Notes) -> Iterator[bytes]:
    """The text in UTF-8 without its mark; `notes` learns the encoding.

    Raises Unreadable for what is no text, and where a file is partly cp1252 and partly UTF-8.
    """
    notes.encoding = Encoding.UTF_8
    first = next(blocks, b"")
    for start, kind in _PACKED.items():
        if first.startswith(start):
            raise Unreadable(f"its content is {kind}", line=1)
    if first.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise Unreadable("it is UTF-32; store it as UTF-8", line=1)
    if first.startswith(codecs.BOM_UTF8):
        yield from chain([first[len(codecs.BOM_UTF8) :]], blocks)
        return
    codec, mark = _utf16(first)
    if codec is None:
        yield from _told_apart(chain([first], blocks), notes)
        return
    notes.encoding = Encoding.UTF_16
    yield from _recoded(chain([first[mark:]], blocks), codec, "surrogatepass")


def _utf16(first: bytes) -> tuple[str | None, int]:
    """The codec, and how long the mark is."""
    if first.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le", 2
    if first.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be", 2
    sample = first[:4096]
    even, odd, half = sample[0::2].count(0), sample[1::2].count(0), len(sample) // 2
    if half and odd * 10 >= half * 4 and even * 20 <= half:
        return "utf-16-le", 0
    if half and even * 10 >= half * 4 and odd * 20 <= half:
        return "utf-16-be", 0
    return None, 0


def _recoded(blocks: Iterator[bytes], codec: str, errors: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    for block in blocks:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        yield b"\xff"  # half a character: the last row is no text


def _told_apart(blocks: Iterator[bytes], notes: Notes) -> Iterator[bytes]:
    """UTF-8 and cp1252 are one as long as all is ASCII."""
    waiting = b""
    for block in blocks:
        block, waiting = waiting + block, b""
        if block.isascii():
            yield block
            continue
        encoding = _verdict(block)
        if encoding is None:
            waiting = block
            continue
        rest = chain([block], blocks)
        if encoding is Encoding.UTF_8:
            yield from rest
        else:
            notes.encoding = Encoding.CP1252
            yield from _recoded(_still_cp1252(rest), "cp1252", "surrogateescape")
        return
    yield waiting


def _verdict(block: bytes) -> Encoding | None:
    """None when nothing but the start of a sequence, cut off at the end, speaks for either."""
    sequences = len(_SEQUENCE.findall(block))
    others = _HIGH.findall(_SEQUENCE.sub(b"", block))
    if not others:
        return Encoding.UTF_8
    if not sequences and len(others) < 4 and not block[-3:].isascii() and block[:-3].isascii():
        return None
    if sequences * 10 >= len(others):
        return Encoding.UTF_8
    western = 10 * len(_WESTERN.findall(b"".join(others))) >= 9 * len(others)
    # In a script of its own (Cyrillic, Greek, Chinese) such bytes follow each other; in a Western one they stand alone.
    return Encoding.CP1252 if western and 2 * len(_PAIR.findall(block)) <= len(others) else Encoding.UTF_8


def _still_cp1252(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        sequences = len(_SEQUENCE.findall(block))
        if sequences and sequences * 10 >= len(_HIGH.findall(_SEQUENCE.sub(b"", block))):
            raise Unreadable("it is cp1252 so far and UTF-8 from there on; store it in one encoding")
        yield block


def decoded(line: bytes, encoding: Encoding | None) -> str:
    """The text of a row. Raises ValueError that says what is wrong with it."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f" at byte {error.start + 1}" if encoding is Encoding.UTF_8 else ""
        raise ValueError(f"not {encoding or Encoding.UTF_8}{where}") from error
