"""How good the model was on the test split before training, and is now: what report.html and the card say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from math import exp
from typing import TypeVar

from finetune_api.spec import TaskType
from finetune_trainer.history import History, Score
from finetune_trainer.likeness import Likeness
from finetune_trainer.measures import Measures

Found = TypeVar("Found")

TOKENS_ARE_LEARNT = frozenset({TaskType.INSTRUCTION, TaskType.COMPLETION})
"""Tasks whose loss counts tokens; of the others it counts rows."""


def compared(history: History, task: TaskType) -> list[tuple[str, str, str]]:
    """(name, before, after) of each figure; before is empty where that was not measured. Nothing without test rows."""
    if history.labels is not None:
        return list(_lines(history.base_labels, history.labels, _of_labels))
    per_token = task in TOKENS_ARE_LEARNT
    return [
        *_lines(history.base_test, history.test, partial(_of_score, per_token=per_token)),
        *_lines(history.base_answers, history.answers, _of_answers),
    ]


def headings(history: History) -> tuple[str, str]:
    """Of what `compared` tells: whose figures are before and after."""
    return ("Base model" if history.labels is None else "Always the commonest label", "Fine-tuned")


def measured_rows(history: History, in_split: int) -> str:
    """Which rows of the test split, that has so many."""
    if history.test_rows < in_split:
        return f"the first {history.test_rows:,} of the test split's {in_split:,} rows"
    return f"the test split's {in_split:,} rows"


def score_section(history: History, task: TaskType, in_split: int) -> str:
    """Empty where nothing was measured, and where each label has its own figures."""
    if history.test is None or history.labels is not None:
        return ""
    rows = f"<p>Of {measured_rows(history, in_split)}.</p>"
    return f"<section><h2>Test split</h2>{rows}{comparison(history, task)}</section>"


def comparison(history: History, task: TaskType) -> str:
    """A table of what `compared` tells."""
    head = "".join(f'<th class="number">{name}</th>' for name in headings(history))
    body = "".join(
        f'<tr><td class="name">{escape(name)}</td><td class="number">{before}</td><td class="number">{after}</td></tr>'
        for name, before, after in compared(history, task)
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _lines(
    before: Found | None, after: Found | None, figures: Callable[[Found], dict[str, str]]
) -> Iterator[tuple[str, str, str]]:
    if after is None:
        return
    least = {} if before is None else figures(before)
    for name, figure in figures(after).items():
        yield name, least.get(name, ""), figure


def _of_score(score: Score, *, per_token: bool) -> dict[str, str]:
    perplexity = f"{exp(score.loss):,.2f}" if score.loss < 20 else "> 10⁸"
    return {
        f"Loss, nats per {'token' if per_token else 'row'}": f"{score.loss:.3f}",
        **({"Perplexity": perplexity} if per_token else {}),
        "Told right": f"{score.accuracy:.1%}",
        **{name: f"{figure:.3f}" for name, figure in score.figures.items()},
    }


def _of_answers(found: Likeness) -> dict[str, str]:
    rows = f"of {found.rows:,} answers"
    return {
        f"Exact match, {rows}": f"{found.exact_match:.1%}",
        f"ROUGE-L, {rows}": f"{found.rouge_l:.3f}",
        f"chrF2, {rows}": f"{found.chrf:.1f}",
    }


def _of_labels(found: Measures) -> dict[str, str]:
    return {
        "Accuracy": f"{found.accuracy:.1%}",
        "F1, the mean over labels (macro)": f"{found.macro_f1:.3f}",
        "F1 over all answers (micro)": f"{found.micro_f1:.3f}",
        "Loss, nats per row": f"{found.loss:.3f}",
        "Calibration error (ECE)": f"{found.calibration_error:.3f}",
    }
