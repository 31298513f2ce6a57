"""report.html: a report as a page that people read before they train. Pure: it can be made again from report.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from finetune_trainer.pages.document import amount, document
from finetune_trainer.pages.shown import shown
from finetune_trainer.prepare.report.examples import alike_rows, cleaning_steps
from finetune_trainer.prepare.report.flow import flow
from finetune_trainer.prepare.report.model import PreparationReport
from finetune_trainer.prepare.report.style import STYLE
from finetune_trainer.prepare.report.tables import files, labels, lengths, rejected, removed, splits
from finetune_trainer.prepare.report.verdict import percent, rows_of

PAGE_FILE: Final = "report.html"

_SECTIONS: Final[tuple[tuple[str, str, Callable[[PreparationReport], str]], ...]] = (
    ("rows", "From raw rows to splits", flow),
    ("rejected", "Rejected rows", rejected),
    ("removed", "Removed rows", removed),
    ("splits", "Splits", splits),
    ("lengths", "Lengths", lengths),
    ("labels", "Labels", labels),
    ("duplicates", "Duplicates", lambda report: alike_rows(report.duplicates, "repeats it")),
    ("conflicts", "Conflicts", lambda report: alike_rows(report.conflicts, "answers the same otherwise")),
    ("cleaning", "Cleaning", cleaning_steps),
    ("files", "Files", files),
)
"""Id, heading and content of each; one without content is left out."""


def report_page(report: PreparationReport) -> str:
    """The whole document. Its size is bounded by the number of examples, whatever the data."""
    summary = report.summary
    header = (
        f'<p class="kind">Data report · {shown(report.task)}</p><h1>{shown(report.verdict.sentence)}</h1>'
        f"<p>{rows_of(summary.rows_read)} read from {summary.files:,} file{'s' * (summary.files != 1)}</p>"
    )
    contents = [(name, heading, content(report)) for name, heading, content in _SECTIONS]
    there = {name for name, _, content in contents if content}
    sections = "".join(
        f'<section id="{name}"><h2>{heading}</h2>{content}</section>' for name, heading, content in contents if content
    )
    return document(
        title=f"Data report: {report.verdict.sentence}",
        header=header,
        body=f"{_points(report, there)}{_figures(report)}{sections}",
        style=STYLE,
    )


def _points(report: PreparationReport, there: set[str]) -> str:
    if not report.verdict.points:
        return ""
    items = "".join(
        f'<li><a href="#{point.section}">{shown(point.text)}</a></li>'
        if point.section in there
        else f"<li>{shown(point.text)}</li>"
        for point in report.verdict.points
    )
    return f'<nav class="points" aria-label="What to look at"><h2>What to look at</h2><ol>{items}</ol></nav>'


def _figures(report: PreparationReport) -> str:
    summary = report.summary
    train = summary.splits
    figures = (
        (f"{train.train:,}", "rows to train on"),
        (f"{train.validation:,} + {train.test:,}", "rows to validate and to test with"),
        (
            amount(summary.train_tokens),
            f"tokens to train on, {percent(summary.trained_tokens, summary.train_tokens)} of them learnt",
        ),
        (f"{summary.rows_cleaned:,}", "of the rows that are kept were repaired"),
    )
    cards = "".join(f'<div class="figure"><b>{number}</b><span>{name}</span></div>' for number, name in figures)
    return f'<div class="figures">{cards}</div>'
