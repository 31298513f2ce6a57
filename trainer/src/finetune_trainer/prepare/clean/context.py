"""What a text is, and what its row is about: asked only where a repair has found something to mend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Final

# A row about encodings or markup shows on purpose what would be damage anywhere else.
_ON_ENCODINGS = re.compile(
    r"mojibake|\bencod(?:e|ed|es|ing|ings)\b|\bdecod\w+|\butf-?\d|\bunicode\b|\bcharsets?\b|\blatin-?1\b|\biso-?8859"
    r"|\bcp-?\d{3,4}\b|\bwindows-125\d|\bascii\b|\bcharacter sets?\b|\bgarbled\b|\bftfy\b|\bcode ?page",
    re.IGNORECASE,
)
_ON_MARKUP = re.compile(
    r"(?<![./\w])x?html\d?\b|\bxml\b|\bmarkup\b|\btags?\b|\bcss\b|\bweb ?pages?\b|\bjsx\b|\bhref\b|\bentit(?:y|ies)\b"
    r"|\bescap(?:e|ed|es|ing)\b|\bescaping\b|\bxss\b|\bjinja\w*\b|\bsvg\b|\brss\b|\bbeautifulsoup\b|\binnerhtml\b",
    re.IGNORECASE,
)
# A gap may be what somebody is to fill.
_ON_GAPS = re.compile(
    r"\bfill(?:ed|ing|s)?[- ](?:in|out)\b|\b(?:the|each|every) blanks?\b|\bcloze\b|\b(?:the|each|every) gaps?\b"
    r"|\bmissing (?:word|letter|part|verb|noun)|\bcomplete the\b|\bspacing\b|\b(?:spaces|blanks) between\b|\bindent",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_CODE_LINE = re.compile(
    r"""^[ \t]*(?:
        (?:def|class|async\ def)\ \w+.*:(?:\s.*)?$
        | (?:if|for|while|with|elif|except)\b.*:\s*$
        | (?:else|try|finally):\s*$
        | import\ [\w.]+\s*(?:as\ \w+)?\s*$
        | import\ .*;$
        | from\ [\w.]+\ import\b
        | return\b[^.,]*$
        | raise\ \w+\(
        | \#\s*(?:include|define|ifdef|ifndef|endif)\b
        | (?:public|private|protected|static|func|fn|function|package)\ \w.*[({;]
        | (?:var|let|const|int|char|float|double|void|auto|bool)\ \**\w+.*[;={(]
        | \}.*
        | .*[;{]\s*$
        | [\w.\[\]'"]+(?:\ :\ \w+)?\s*[-+*/|:?]?=\s*\S.*
        | @\w[\w.]*(?:\(.*\))?\s*$
        | [\w.]+\(.*\)\s*$
        | [a-z][\w.-]*:(?:\ \S+)?\s*$
        | \$\ \w+.*
        | (?:SELECT|INSERT|UPDATE|DELETE|CREATE)\ .*
    )""",
    re.VERBOSE,
)
_LAID_OUT = re.compile(
    r"""^(?:[ ]{2,}|\ *\t)\S        # indented: code, lists of lists, verse, drawings
    | \S\t+\S | ^\|.*\| | \S\ \|\ \S.*\ \|\ | ^\+[-=+]+\+ | ^[-|: ]{3,}$     # tables
    | ^\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d                              # logs
    | ^\#! | ^(?:\#|//|/?\*+)(?:$|[ ]{2,}\S) | ^//|^/\*            # comments
    | ^(?:diff\ |Index:\ |@@\ |---\ \S|\+\+\+\ \S)                  # diffs
    | ^[ \t]*(?:```|~~~)                                           # fences
    | [\u2500-\u259f]                                              # box drawing, blocks
    | </?[a-zA-Z!][^<>]*> | [$][({] | ^[\w.%/-]+[ \t]*[:+?]?=(?!=)      # markup, Makefiles, settings
    """,
    re.VERBOSE | re.MULTILINE,
)
_SYMBOLS = re.compile(r"[#$%&*+/<=>@\\^_`{|}~\[\]()-]")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
LONG_LINE: Final = 40
"""Characters. A shorter line may be verse, or a row of columns."""
_WORD_LETTERS: Final = 2.5
_MANY_SYMBOLS: Final = 0.08
_SOME_CODE: Final = 0.3


class RowContext:
    """All texts of one row."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)

    @cached_property
    def on_encodings(self) -> bool:
        """Whether the row speaks of encodings."""
        return any(_ON_ENCODINGS.search(text) for text in self.texts)

    @cached_property
    def on_markup(self) -> bool:
        """Whether the row speaks of markup, other than by using it."""
        return any(_ON_MARKUP.search(_TAG.sub(" ", text)) for text in self.texts)

    @cached_property
    def on_gaps(self) -> bool:
        """Whether the row speaks of gaps between words, or of what stands in them."""
        return any(_ON_GAPS.search(text) for text in self.texts)


def is_code(text: str) -> bool:
    """Whether the text reads as a program, settings or JSON; a few lines of code within prose do not make it one."""
    if "```" in text or "~~~" in text or (text[:1] in ("{", "[") and _is_json(text)):
        return True
    lines = [line for line in text.split("\n") if line.strip()]
    return sum(1 for line in lines if _CODE_LINE.match(line)) > _SOME_CODE * len(lines)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def is_prose(text: str) -> bool:
    """Whether blanks mean nothing in this text: no code, table, diff, drawing, indentation or markup in it."""
    if _LAID_OUT.search(text) or _has_columns(text) or is_code(text):
        return False
    words = text.split()
    return len(_SYMBOLS.findall(text)) <= _MANY_SYMBOLS * len(text) and sum(map(len, words)) >= _WORD_LETTERS * len(
        words
    )


def _has_columns(text: str) -> bool:
    if "  " not in text:
        return False
    above: set[int] = set()
    for line in text.split("\n"):
        gaps = list(_GAP.finditer(line))
        here = {gap.end() for gap in gaps}
        if above & here or (len(line) < LONG_LINE and any(len(gap.group()) > 2 for gap in gaps)):
            return True
        above = here
    return False
