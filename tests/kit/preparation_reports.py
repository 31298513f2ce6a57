"""A report of preparation, and others that differ from it in what a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from finetune_api.result import DataSummary, SplitCounts
from finetune_trainer.prepare.barrier.findings import Findings
from finetune_trainer.prepare.report.lengths import lengths_of
from finetune_trainer.prepare.report.model import Figures, PreparationReport
from finetune_trainer.prepare.report.verdict import judge
from finetune_trainer.prepared import SplitFiles

SUMMARY = DataSummary(
    files=3,
    rows_read=10_000,
    rows_cleaned=120,
    rows_rejected=0,
    rows_truncated=0,
    rows_removed=0,
    splits=SplitCounts(train=8000, validation=1000, test=1000),
    train_tokens=1_000_000,
    trained_tokens=250_000,
)
FINDINGS = Findings(
    exact_duplicates=0,
    near_duplicates=0,
    conflicts=0,
    conflict_places=(),
    groups=10_000,
    largest_group=1,
    moved=None,
    labels=None,
    warnings=(),
)


def figures(
    *, summary: Mapping[str, Any] | None = None, findings: Mapping[str, Any] | None = None, **changes: Any
) -> Figures:
    """Of ten thousand rows in which nothing is wrong, but for what is given."""
    found: dict[str, Any] = {
        "sources": ("s3://raw/a.jsonl", "s3://raw/b.jsonl", "s3://raw/c.jsonl"),
        "task": "Instruction",
        "sequence_length": 4096,
        "percents": {"train": 80, "validation": 10, "test": 10},
        "summary": SUMMARY.model_copy(update=summary),
        "splits": {
            "train": SplitFiles(documents=8000, tokens=1_000_000, trained=250_000),
            "validation": SplitFiles(documents=1000, tokens=125_000, trained=30_000),
            "test": SplitFiles(documents=1000, tokens=125_000, trained=30_000),
        },
        "rejected": {},
        "removed": {},
        "reasons": (),
        "shapes": {"messages": 10_000},
        "encodings": {"UTF-8": 3},
        "findings": FINDINGS.model_copy(update=findings),
        "duplicates": (),
        "conflicts": (),
        "cleaning": {},
        "lengths": {"train": lengths_of(np.arange(1, 2000, dtype=np.int32))},
    }
    return Figures(**{**found, **changes})


def report(**changes: Any) -> PreparationReport:
    """The same, judged."""
    known = figures(**changes)
    return PreparationReport(**dict(known), verdict=judge(known))
