"""The section of report.html on labels: what was told of each, and what was taken for what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from finetune_trainer.measures import LabelMeasure, Measures

MOST_IN_TABLE: Final = 20
"""Labels whose confusion is drawn, the commonest; more would be no table that anybody reads."""


def label_section(base: Measures | None, found: Measures | None) -> str:
    """Empty for tasks without labels. Everything that came from outside is escaped."""
    if found is None:
        return ""
    return f"<section><h2>Labels of test rows</h2>{_summary(base, found)}{_of_each(found)}{_confusion(found)}</section>"


def _summary(base: Measures | None, found: Measures) -> str:
    rows = (
        ("Accuracy", "accuracy", ".1%"),
        ("F1, the mean over labels (macro)", "macro_f1", ".3f"),
        ("F1 over all answers (micro)", "micro_f1", ".3f"),
        ("Loss, nats per row", "loss", ".3f"),
        ("Calibration error (ECE)", "calibration_error", ".3f"),
    )
    head = '<tr><th></th><th class="number">Fine-tuned</th><th class="number">Always the commonest label</th></tr>'
    lines = "".join(
        f'<tr><td class="name">{name}</td><td class="number">{format(getattr(found, field), form)}</td>'
        f'<td class="number">{"" if base is None else format(getattr(base, field), form)}</td></tr>'
        for name, field, form in rows
    )
    return f"<table>{head}{lines}</table>"


def _of_each(found: Measures) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in ("Rows", "Precision", "Recall", "F1"))
    lines = "".join(
        f'<tr><td>{escape(label.label)}</td><td class="number">{label.rows:,}</td>'
        f'<td class="number">{label.precision:.3f}</td><td class="number">{label.recall:.3f}</td>'
        f'<td class="number">{label.f1:.3f}</td></tr>'
        for label in found.labels
    )
    table = f'<div class="scroll"><table><tr><th>Label</th>{head}</tr>{lines}</table></div>'
    return f"<details open><summary>Each label</summary>{table}</details>"


def _confusion(found: Measures) -> str:
    if found.confusion is None:
        return ""
    shown = _commonest(found.labels)
    head = "".join(f'<th class="number">{escape(found.labels[label].label)}</th>' for label in shown)
    lines = "".join(
        f"<tr><td>{escape(found.labels[true].label)}</td>"
        + "".join(f'<td class="number">{found.confusion[true][told]:,}</td>' for told in shown)
        + "</tr>"
        for true in shown
    )
    note = "" if len(shown) == len(found.labels) else f", the {MOST_IN_TABLE} commonest labels"
    return (
        f"<details open><summary>True label by line, told label by column{note}</summary>"
        f'<div class="scroll"><table><tr><th></th>{head}</tr>{lines}</table></div></details>'
    )


def _commonest(labels: Sequence[LabelMeasure]) -> list[int]:
    by_rows = sorted(range(len(labels)), key=lambda label: -labels[label].rows)
    return sorted(by_rows[:MOST_IN_TABLE])
