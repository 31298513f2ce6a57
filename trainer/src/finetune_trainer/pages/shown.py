"""Text of unknown origin as markup: escaped, and nothing in it that cannot be seen or that moves what stands around it.

Raw data may hold anything: tags, terminal sequences, characters that turn the direction of a line.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from html import escape
from typing import Final

ELLIPSIS: Final = "…"
"""Ends a text that goes on."""

_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f")
"""Scripts and emoji are made of them; between letters they show nothing and move nothing."""
_BLANKS: Final = {"\r": "␍", "\t": "→\t", "\n": "↵\n", " ": "·", "\u00a0": "⍽"}
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SUSPECT: Final = re.compile(r"[^\t\n\x20-\x7e]")


def shown(text: str) -> str:
    """The text as markup. Controls, direction marks and what has no glyph appear as their code points."""
    return _SUSPECT.sub(lambda found: _seen(found[0]), escape(text))


def shown_change(before: str, after: str) -> tuple[str, str]:
    """Both as markup: in <del> what was taken away, in <ins> what was put there, blanks and joiners in these visible.

    For texts of a few hundred characters. Of two that end with an ellipsis the ends are not compared.
    """
    cut = before.endswith(ELLIPSIS) and after.endswith(ELLIPSIS)
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    if cut and len(changes) > 2 and changes[-1][0] == "equal" and changes[-1][2] - changes[-1][1] == 1:
        kind, start, _, new_start, _ = changes[-2]
        changes[-2:] = [("cut", start, len(before), new_start, len(after))]
    old, new = "", ""
    for kind, start, end, new_start, new_end in changes:
        if kind in ("equal", "cut"):
            old, new = old + shown(before[start:end]), new + shown(after[new_start:new_end])
        else:
            old, new = old + _marked("del", before[start:end]), new + _marked("ins", after[new_start:new_end])
    return old, new


def _marked(tag: str, text: str) -> str:
    inside = "".join(_BLANKS.get(character) or _seen(character, joiners=True) for character in text)
    return f"<{tag}>{inside}</{tag}>" if inside else ""


def _seen(character: str, *, joiners: bool = False) -> str:
    is_joiner = character in _JOINERS
    if joiners if is_joiner else unicodedata.category(character) in _UNSEEN:
        return _code_point(character)
    return escape(character)


def _code_point(character: str) -> str:
    name = unicodedata.name(character, "")
    title = f' title="{escape(name)}"' if name else ""
    return f'<span class="point"{title}>U+{ord(character):04X}</span>'
