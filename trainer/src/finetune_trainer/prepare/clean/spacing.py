"""Blanks that mean nothing: in prose as a repair, everywhere as a rewrite."""

from __future__ import annotations

import re

from finetune_trainer.prepare.clean.context import LONG_LINE, RowContext, is_prose

_RUNAWAY = re.compile("(?<=[^ \u00a0\n])[ \u00a0]{3,}(?=[^ \u00a0\n])")
# The same where there are no no-break spaces. It begins with a fixed text, so that indented code is passed over fast.
_RUN_OF_SPACES = re.compile("   (?<=[^ \n]   ) *[^ \n]")
_BLANK_LINES = re.compile("\n[ \t]*\n(?:[ \t]*\n){2,}")
_ANY_BLANKS = re.compile("[^\\S\n]+")
_ANY_BLANK_LINES = re.compile("\n{3,}")


def mend_runaway(text: str, row: RowContext) -> str:
    """In prose: three blanks and more within a long line become one, three blank lines and more become one."""
    if "   " not in text and "\u00a0\u00a0" not in text and "\n\n\n\n" not in text:
        return text
    if not (_has_run(text) or _BLANK_LINES.search(text)) or row.on_gaps or not is_prose(text):
        return text
    return _BLANK_LINES.sub("\n\n", "\n".join(map(_without_runaway, text.split("\n"))))


def _has_run(text: str) -> bool:
    return (_RUNAWAY if "\u00a0" in text else _RUN_OF_SPACES).search(text) is not None


def _without_runaway(line: str) -> str:
    if "`" in line:  # within them blanks are meant
        return line
    mended = _RUNAWAY.sub(" ", line)
    return mended if len(mended) >= LONG_LINE else line


def mend_trailing(text: str, _row: RowContext) -> str:
    """In prose: blanks at line ends, and blank lines at both ends; the line feed that ends a last line stays.

    Exactly two blanks before another line are a line break of Markdown.
    """
    if not (
        text[-1:] in (" ", "\t") or text[:1] == "\n" or text.endswith("\n\n") or " \n" in text or "\t\n" in text
    ) or not is_prose(text):
        return text
    lines = text.split("\n")
    mended = [
        line.rstrip(" \t") if not _is_hard_break(line, after) else line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
    ]
    first = next((index for index, line in enumerate(mended) if line), len(mended))
    last = len(mended)
    while last > first + 1 and not mended[last - 1] and not mended[last - 2]:
        last -= 1
    return "\n".join(mended[first:last])


def _is_hard_break(line: str, after: str) -> bool:
    return line.endswith("  ") and not line.endswith("   ") and line.strip() != "" and after.strip() != ""


def rewrite_whitespace(text: str, _row: RowContext) -> str:
    """Every run of blanks one blank, no blanks at line ends, at most one blank line, none at both ends."""
    lines = (_ANY_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return _ANY_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
