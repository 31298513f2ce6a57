"""How near answers come to what was expected: exact matches, ROUGE-L and chrF. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import fsum
from typing import Final

from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.chrf import CHRF

from finetune_api.model import Model

_WORD: Final = re.compile(r"\w+")


class Likeness(Model):
    """Of a model's answers to some rows of the test split."""

    rows: int
    exact_match: float
    """Share of answers that are what was expected, but for blanks around them."""
    rouge_l: float
    """Mean over rows of ROUGE-L's F measure, 0 to 1: of the longest common subsequence of words, whatever their case.
    As rouge-score's `rougeL` without stemming, but that letters of every script make words."""
    chrf: float
    """chrF2 of all answers together, 0 to 100, as sacrebleu's default."""


def likeness(answers: Sequence[str], expected: Sequence[str]) -> Likeness:
    """Of at least one answer and what was expected in its place."""
    pairs = list(zip(answers, expected, strict=True))
    return Likeness(
        rows=len(pairs),
        exact_match=fsum(answer.strip() == wanted.strip() for answer, wanted in pairs) / len(pairs),
        rouge_l=fsum(_rouge_l(answer, wanted) for answer, wanted in pairs) / len(pairs),
        chrf=CHRF().corpus_score(list(answers), [list(expected)]).score,
    )


def _rouge_l(answer: str, wanted: str) -> float:
    told, truth = (_WORD.findall(text.casefold()) for text in (answer, wanted))
    common = LCSseq.similarity(told, truth)
    # The harmonic mean of common / told and common / truth.
    return 2 * common / (len(told) + len(truth)) if common else 0.0
