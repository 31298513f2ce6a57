"""Text that was decoded with the wrong encoding, once or twice."""

from __future__ import annotations

import re
from typing import Final

import ftfy
from ftfy.badness import is_bad

from finetune_trainer.prepare.clean.context import RowContext, is_code

# All that a wrong decoder makes of a UTF-8 sequence is its image of a lead byte followed by those of its
# continuation bytes. ftfy looks for the same in a regular expression that is thirty times slower on clean text.
_WRONG_DECODERS: Final = (
    "latin-1",
    "sloppy-windows-1252",
    "sloppy-windows-1251",
    "sloppy-windows-1250",
    "sloppy-windows-1253",
    "sloppy-windows-1254",
    "sloppy-windows-1257",
    "iso-8859-2",
    "macroman",
    "cp437",
)


# To a Macintosh these are lead bytes of Hebrew and Armenian, to everybody else the apostrophe of "l'été".
_QUOTES: Final = frozenset("\u2018\u2019\u201c\u201d\u00ab\u00bb\u2026\u00a0")


def _image(encoding: str, first: int, last: int) -> str:
    characters = set(bytes(range(first, last + 1)).decode(encoding, errors="ignore"))
    if first >= 0xC2:
        characters -= _QUOTES
    return "".join(f"\\u{ord(character):04x}" for character in sorted(characters) if not character.isascii())


def _sequences(encoding: str) -> str:
    tail = f"[{_image(encoding, 0x80, 0xBF)}]"
    two, three = _image(encoding, 0xC2, 0xDF), _image(encoding, 0xE0, 0xF4)
    return f"[{two}]{tail}|[{three}]{tail}{tail}"


# Besides whole sequences: C1 controls, which are Windows punctuation, and a no-break space that became a blank.
_C1: Final = "\x80-\x9f"
_LEADS: Final = "".join(_image(encoding, 0xC2, 0xF4) for encoding in _WRONG_DECODERS)
_TAILS: Final = "".join(_image(encoding, 0x80, 0xBF) for encoding in _WRONG_DECODERS)
_PERHAPS = re.compile(f"[{_C1}{_LEADS}](?:(?<=[{_C1}])|(?=[{_TAILS}])|(?<=[ÂÃ]) )")
_BESIDE: Final = 8
_SUSPICIOUS = re.compile("|".join([f"[{_C1}]", "[ÂÃ] ", *map(_sequences, _WRONG_DECODERS)]))


def mend_mojibake(text: str, row: RowContext) -> str:
    """`ftfy.fix_encoding`, except in programs and in rows about encodings, which show broken text on purpose."""
    if text.isascii() or not _is_suspicious(text):
        return text
    mended = ftfy.fix_encoding(text)
    if mended == text or row.on_encodings or is_code(text):
        return text
    return mended


def _is_suspicious(text: str) -> bool:
    # A sequence may be what somebody wrote ("Её" is one): ftfy judges by what stands beside it.
    return any(
        _SUSPICIOUS.match(text, found.start()) and is_bad(text[max(0, found.start() - _BESIDE) : found.end() + _BESIDE])
        for found in _PERHAPS.finditer(text)
    )
