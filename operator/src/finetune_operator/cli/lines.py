"""What is told at the end: a heading, and beside it prose or a path."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.text import Text

_HEADING_WIDTH: Final = 12


def print_lines(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Prose is wrapped beside its heading; a path stays whole, to be copied."""
    console.print()
    for heading, text in lines:
        body = [part for line in text.splitlines() for part in _wrap(line, console.width - _HEADING_WIDTH)]
        for number, part in enumerate(body or [""]):
            title = heading if number == 0 else ""
            line = Text.assemble((title.ljust(_HEADING_WIDTH), "bold"), part)
            line.rstrip()
            console.print(line, soft_wrap=True)


def _wrap(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
