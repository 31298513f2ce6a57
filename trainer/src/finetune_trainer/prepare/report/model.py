"""report.json: what preparation did to the data, for people and for programs that watch over it.

Data, not only counts: it lies with the data and goes nowhere else.
"""

from __future__ import annotations

from typing import Final

from finetune_api.model import Model
from finetune_api.result import DataSummary
from finetune_trainer.prepare.barrier.findings import Findings
from finetune_trainer.prepared import SplitFiles

REPORT_FILE: Final = "report.json"


class Example(Model):
    """A text that cleaning changed, cut to a few hundred characters around the first change."""

    place: str
    """`file:line` of its row."""
    before: str
    after: str


class CleaningStep(Model):
    """What one step of cleaning did."""

    rows: int
    """Rows that it changed, those that were left out later included."""
    examples: tuple[Example, ...]
    """The first of them."""


class LeftOut(Model):
    """Rows that were left out for one reason."""

    kind: str
    reason: str
    """As of the first of them, with what differs from row to row left open; empty where the kind says it all."""
    rows: int
    places: tuple[str, ...]
    """`file:line` of the first of them."""
    kept: tuple[str, ...] = ()
    """`file:line` of the row that stands for each of these, where one does."""


class Lengths(Model):
    """Tokens of the documents of one split."""

    median: int
    percentile_90: int
    percentile_99: int
    longest: int
    edges: tuple[int, ...]
    """Bounds of the counts, ascending: one more than there are of these."""
    counts: tuple[int, ...]
    """Documents whose length is at least the bound of the same number and below the next."""


class LabelRows(Model):
    """How often a label occurs in each split."""

    label: str
    train: int
    validation: int
    test: int


class AlikeRows(Model):
    """Rows that repeat one that comes before them, or contradict it."""

    rows: int
    """The first included."""
    places: tuple[str, ...]
    """The first, and the first of the others."""
    texts: tuple[str, ...]
    """Of these, cut."""


class Point(Model):
    """One thing to look at."""

    section: str
    """Where the page shows it: the id of the section."""
    text: str


class Verdict(Model):
    """What a person should do."""

    sentence: str
    points: tuple[Point, ...]
    """What to look at, the most important first."""


class Figures(Model):
    """What is known of a preparation."""

    sources: tuple[str, ...]
    """Uris of the first files that were read."""
    task: str
    sequence_length: int
    percents: dict[str, int]
    """Share of each split that was asked for."""
    summary: DataSummary
    splits: dict[str, SplitFiles]
    rejected: dict[str, int]
    """Rows by kind; each with its reason in rejected.jsonl."""
    removed: dict[str, int]
    reasons: tuple[LeftOut, ...]
    """Of rejected and of removed rows, the most frequent first."""
    shapes: dict[str, int]
    """Rows that could be read, by what they look like."""
    encodings: dict[str, int]
    """Files of text, by how they are written."""
    findings: Findings
    duplicates: tuple[AlikeRows, ...]
    """The largest clusters."""
    conflicts: tuple[AlikeRows, ...]
    """The first inputs that have more than one output."""
    cleaning: dict[str, CleaningStep]
    """By the field of `spec.data.cleaning` that switches the step."""
    lengths: dict[str, Lengths]
    """Of each split that has rows."""
    labels: tuple[LabelRows, ...] = ()
    """The most frequent first; empty where the task has none."""


class PreparationReport(Figures):
    """The figures, and what they say."""

    verdict: Verdict
