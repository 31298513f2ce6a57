"""The section of report.html on labels: what was told of each, and what was taken for what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from finetune_api.spec import TaskType
from finetune_trainer.history import History
from finetune_trainer.measures import LabelMeasure, Measures
from finetune_trainer.publish.scores import comparison, measured_rows

MOST_IN_TABLE: Final = 20
"""Labels whose confusion is drawn, the commonest; more would be no table that anybody reads."""


def label_section(history: History, task: TaskType, in_split: int) -> str:
    """Empty for tasks without labels. Everything that came from outside is escaped."""
    found = history.labels
    if found is None:
        return ""
    return (
        f"<section><h2>Labels of test rows</h2><p>Of {measured_rows(history, in_split)}.</p>"
        f"{comparison(history, task)}{_of_each(found)}{_confusion(found)}</section>"
    )


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
