"""The verdict: one sentence, and what to look at."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.result import SplitCounts
from finetune_trainer.prepare.report.model import CleaningStep
from finetune_trainer.prepare.report.verdict import judge, percent
from preparation_reports import figures


def step(rows: int) -> CleaningStep:
    return CleaningStep(rows=rows, examples=())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Good to train: 10,000 of 10,000 rows; nothing to look at"),
        (
            {"summary": {"rows_rejected": 9}, "rejected": {"Invalid": 9}},
            "Good to train: 10,000 of 10,000 rows; 1 thing to look at",
        ),
        (
            {"summary": {"rows_rejected": 101}, "rejected": {"Invalid": 101}},
            "Look before you train: 101 rows of 10,000 were rejected",
        ),
        (
            {"summary": {"rows_read": 20, "rows_rejected": 9, "splits": SplitCounts(train=9, validation=1, test=1)}},
            "Good to train: 11 of 20 rows; 2 things to look at",
        ),
        (
            {"summary": {"rows_read": 2, "splits": SplitCounts(train=2, validation=0, test=0)}},
            "Not ready to train: validation and test got none of 2 rows",
        ),
        (
            {"summary": {"splits": SplitCounts(train=10_000, validation=0, test=0)}, "percents": {"train": 100}},
            "Good to train: 10,000 of 10,000 rows; nothing to look at",
        ),
    ],
)
def test_the_sentence_says_whether_to_train(changes: dict[str, Any], sentence: str) -> None:
    assert judge(figures(**changes)).sentence == sentence


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        (
            {"summary": {"rows_rejected": 42}, "rejected": {"Invalid": 30, "Unreadable": 12}},
            ("rejected", "42 rows (0.4 %) cannot be read or make no sense"),
        ),
        (
            {"summary": {"rows_rejected": 2}, "rejected": {"TooLong": 2}},
            ("lengths", "2 rows left out: longer than 4,096 tokens (spec.training.sequenceLength)"),
        ),
        (
            {"summary": {"rows_truncated": 1}},
            ("lengths", "1 row too long: the beginning of the prompt was cut, never an answer"),
        ),
        (
            {"removed": {"Duplicate": 400, "NearDuplicate": 101}},
            ("duplicates", "501 rows (5.0 %) removed: repeats of an earlier row"),
        ),
        ({"removed": {"Filtered": 5001}}, ("removed", "the filters of spec.data.cleaning leave out 50 %")),
        ({"removed": {"Empty": 1}}, ("removed", "1 row removed: there is nothing to learn")),
        (
            {"findings": {"conflicts": 1}},
            ("conflicts", "1 input has more than one output; all of these rows stay"),
        ),
        (
            {"removed": {"Contaminated": 3}},
            ("removed", "3 rows removed: quoted by training rows, or quoting a benchmark"),
        ),
        ({"findings": {"warnings": ("test has 3 rows",)}}, ("splits", "test has 3 rows")),
        ({"findings": {"moved": 7}}, ("splits", "7 rows moved to another split since the last time")),
        (
            {"cleaning": {"html": step(2001)}},
            ("cleaning", "html changed 20 % of the rows: see in the examples whether it is right"),
        ),
        (
            {"encodings": {"cp1252": 2}},
            ("files", "2 files are read as cp1252, which is a guess: look for wrong letters"),
        ),
    ],
)
def test_what_to_look_at_names_the_section_that_shows_it(changes: dict[str, Any], point: tuple[str, str]) -> None:
    assert [(found.section, found.text) for found in judge(figures(**changes)).points] == [point]


@pytest.mark.parametrize(
    "changes",
    [
        {"removed": {"Duplicate": 500}},
        {"removed": {"Filtered": 5000}},
        {"cleaning": {"html": step(2000)}},
        {"encodings": {"UTF-16": 4}},
        {"findings": {"moved": 0}},
    ],
)
def test_what_is_as_it_should_be_is_nothing_to_look_at(changes: dict[str, Any]) -> None:
    assert judge(figures(**changes)).points == ()


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(0, 5, "0 %"), (1, 5000, "< 0.1 %"), (3, 1000, "0.3 %"), (1, 8, "12 %"), (5, 5, "100 %"), (0, 0, "0 %")],
)
def test_shares_are_told_as_people_do(part: int, whole: int, told: str) -> None:
    assert percent(part, whole) == told
