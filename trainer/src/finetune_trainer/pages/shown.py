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
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    end, new_end = len(before), len(after)
    if before.endswith(ELLIPSIS) and after.endswith(ELLIPSIS) and len(changes) > 1 and _is_one_character(changes[-1]):
        _, end, _, new_end, _ = changes[-2]
        changes = changes[:-2]
    old, new = "", ""
    for kind, start, stop, new_start, new_stop in changes:
        if kind == "equal":
            old, new = old + shown(before[start:stop]), new + shown(after[new_start:new_stop])
        else:
            old, new = old + _marked("del", before[start:stop]), new + _marked("ins", after[new_start:new_stop])
    return old + shown(before[end:]), new + shown(after[new_end:])


def _is_one_character(change: tuple[str, int, int, int, int]) -> bool:
    kind, start, stop, _, _ = change
    return kind == "equal" and stop - start == 1


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
