"""The frame of every page that is delivered: one HTML file that loads nothing and runs nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from finetune_trainer.pages.style import STYLE


def document(*, title: str, header: str, body: str, style: str = "") -> str:
    """The whole file. `title` is text; `header`, `body` and `style` are markup in which all data is escaped."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing on this page may run or load, whatever the data holds.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><main>"
        f"<header>{header}</header>{body}</main></body></html>\n"
    )


def name_table(rows: Iterable[tuple[str, str]], *, code: bool = False) -> str:
    """Names and their values, both text."""

    def cell(value: str) -> str:
        return f"<code>{escape(value)}</code>" if code else escape(value)

    listed = (
        f'<tr><th scope="row" class="name">{escape(name)}</th><td>{cell(value)}</td></tr>' for name, value in rows
    )
    return f"<table>{''.join(listed)}</table>"


def amount(count: int) -> str:
    """Three digits and a unit."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
