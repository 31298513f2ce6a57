"""The sections of the report that show data: what cleaning changed, and rows that are alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from finetune_trainer.pages.shown import shown, shown_change
from finetune_trainer.prepare.report.model import AlikeRows, Example, Figures
from finetune_trainer.prepare.report.tables import short
from finetune_trainer.prepare.report.verdict import percent, rows_of


def cleaning_steps(figures: Figures) -> str:
    """Each step that changed something, with the first changes."""
    if not figures.cleaning:
        return "<p>No step found anything to change.</p>"
    steps = sorted(figures.cleaning.items(), key=lambda item: (-item[1].rows, item[0]))
    parts = [
        f"<details{' open' * (number < 3)}><summary><code>{escape(name)}</code> changed {rows_of(step.rows)} "
        f"({percent(step.rows, figures.summary.rows_read)})</summary>{''.join(map(_example, step.examples))}</details>"
        for number, (name, step) in enumerate(steps)
    ]
    told = "What was taken away or put there is marked; blanks in it are shown as · and others as their code points."
    return f"<p>{told}</p>{''.join(parts)}"


def _example(example: Example) -> str:
    before, after = shown_change(example.before, example.after)
    return (
        f'<div class="example"><h3><code>{shown(short(example.place))}</code></h3><div class="answers">'
        f'<div><h4>Before</h4><pre dir="auto">{before}</pre></div>'
        f'<div class="after"><h4>After</h4><pre dir="auto">{after}</pre></div></div></div>'
    )


def alike_rows(found: Sequence[AlikeRows], relation: str) -> str:
    """Each with the first row and one that repeats or contradicts it; empty when there are none."""
    return "".join(
        f'<div class="example"><h3>{rows_of(one.rows)}</h3><div class="answers">{_rows(one, relation)}</div></div>'
        for one in found
    )


def _rows(one: AlikeRows, relation: str) -> str:
    heads = ("First", *(f"One that {relation}",) * (len(one.places) - 1))
    return "".join(
        f'<div><h4>{head} · <code>{shown(short(place))}</code></h4><pre dir="auto">{shown(text)}</pre></div>'
        for head, place, text in zip(heads, one.places, one.texts, strict=True)
    )
