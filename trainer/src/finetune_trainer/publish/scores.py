"""The section of report.html on the test split: how good the model was before training, and is now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from math import exp
from typing import TypeVar

from finetune_trainer.history import History, Score
from finetune_trainer.likeness import Likeness

Found = TypeVar("Found")


def score_section(history: History, *, per_token: bool) -> str:
    """Empty where nothing was measured, and where each label has its own figures."""
    if history.test is None or history.labels is not None:
        return ""
    lines = [
        *_lines(history.base_test, history.test, partial(_of_score, per_token=per_token)),
        *_lines(history.base_answers, history.answers, _of_answers),
    ]
    head = '<tr><th></th><th class="number">Base model</th><th class="number">Fine-tuned</th></tr>'
    body = "".join(
        f'<tr><td class="name">{escape(name)}</td><td class="number">{before}</td><td class="number">{after}</td></tr>'
        for name, before, after in lines
    )
    return f"<section><h2>Test split</h2><table>{head}{body}</table></section>"


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
        "Loss, nats": f"{score.loss:.3f}",
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
