"""Characters that nobody sees and nobody meant: controls, carriage returns, marks, zero-width and bidi characters."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from finetune_trainer.prepare.clean.context import RowContext, is_code, is_prose

# Tab, line feed and carriage return are no damage here. A form feed is a page break in source code.
_CONTROL_BYTES: Final = bytes([*range(9), 11, 12, *range(14, 32), 127])
_TERMINAL = re.compile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)|[()][A-B0-2])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]+")

_MARK: Final = "\ufeff"
_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]+")
_FILLERS: Final = "\u115f\u1160\u2800\u3164\uffa0"
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
# Written without blanks: there a zero-width space says where a line may be broken.
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u9fff\uf900-\ufaff]")
# Arabic and its relatives, Indic scripts, Mongolian: joiners choose the shape of letters.
_JOINING = re.compile("[\u0600-\u07ff\u0840-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc]")


def mend_controls(text: str, _row: RowContext) -> str:
    """Terminal sequences as a whole, then C0 controls and DEL; form feeds in prose only."""
    content = text.encode()
    if len(content.translate(None, _CONTROL_BYTES)) == len(content):
        return text
    mended = _CONTROL.sub("", _TERMINAL.sub("", text))
    if "\x0c" in mended and is_prose(mended.replace("\x0c", "\n")):
        mended = mended.replace("\n\x0c", "\n").replace("\x0c\n", "\n").replace("\x0c", "\n")
    return mended


def mend_line_endings(text: str, _row: RowContext) -> str:
    """CRLF and CR become LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def mend_byte_order_marks(text: str, _row: RowContext) -> str:
    """Only at the start: elsewhere U+FEFF is one of the zero-width characters."""
    return text.lstrip(_MARK)


def mend_invisible(text: str, _row: RowContext) -> str:
    """Zero-width and bidi characters where no script, emoji or direction needs them; strings of programs may."""
    if text.isascii() or not _INVISIBLE.search(text) or is_code(text):
        return text
    directed = _RIGHT_TO_LEFT.search(text) is not None

    def kept(found: re.Match[str]) -> str:
        before, after = text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 1]
        return "".join(
            character
            for character in found.group()
            if (directed if character in _BIDI else _is_needed(character, before, after))
        )

    return _INVISIBLE.sub(kept, text)


def _is_needed(character: str, before: str, after: str) -> bool:
    if character in "\u200c\u200d":
        return bool(_JOINING.match(before) or _JOINING.match(after)) or (
            character == "\u200d" and _is_pictograph(before) and _is_pictograph(after)
        )
    if character == "\u00ad":  # a soft hyphen at a line's end is a hyphen that is seen
        return not (before.isalpha() and after.isalpha())
    if character == _MARK:
        return False
    return bool(_UNSPACED.match(before) or _UNSPACED.match(after))


def _is_pictograph(character: str) -> bool:
    # So, Sk (skin tones), Mn (U+FE0F) and Me (keycaps) are what emoji sequences are joined from.
    return bool(character) and unicodedata.category(character) in ("So", "Sk", "Mn", "Me", "Sm", "Po", "Cn")


def mend_empty(text: str, _row: RowContext) -> str:
    """Nothing where there is nothing to see: blanks, controls and fillers only."""
    if not text or (text[0].isascii() and text[0].isalnum()):
        return text
    return text if any(map(_is_seen, text)) else ""


def _is_seen(character: str) -> bool:
    unseen = ("Zs", "Zl", "Zp", "Cc", "Cf")
    return character not in _FILLERS and unicodedata.category(character) not in unseen
