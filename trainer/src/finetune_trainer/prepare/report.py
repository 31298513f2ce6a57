"""report.json: what preparation did to the data, for people and for the page of the finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from finetune_api.model import Model
from finetune_api.result import DataSummary
from finetune_trainer.prepare.ledger import Ledger
from finetune_trainer.prepare.scan import Tally
from finetune_trainer.prepared import SplitFiles

REPORT_FILE: Final = "report.json"
_EXAMPLE_CHARACTERS = 300


class Example(Model):
    """A text that was repaired, cut to a few hundred characters."""

    before: str
    after: str


class PreparationReport(Model):
    """Data, not only counts: it lies with the data and goes nowhere else."""

    summary: DataSummary
    splits: dict[str, SplitFiles]
    rejected: dict[str, int]
    """Rows by kind; each with its reason in rejected.jsonl."""
    removed: dict[str, int]
    shapes: dict[str, int]
    """Rows that could be read, by what they look like."""
    encodings: dict[str, int]
    """Files of text, by how they are written."""
    repairs: dict[str, tuple[Example, ...]]
    """The first texts that each repair changed."""


def write_report(
    folder: Path, *, summary: DataSummary, contents: Mapping[str, SplitFiles], ledger: Ledger, tally: Tally
) -> None:
    """Write report.json."""
    report = PreparationReport(
        summary=summary,
        splits=dict(contents),
        rejected={kind.value: rows for kind, rows in ledger.rejected.items()},
        removed={kind.value: rows for kind, rows in ledger.removed.items()},
        shapes={shape.value: rows for shape, rows in tally.shapes.items()},
        encodings={encoding.value: files for encoding, files in tally.encodings.items()},
        repairs={
            str(repair.name).lower(): tuple(
                Example(before=before[:_EXAMPLE_CHARACTERS], after=after[:_EXAMPLE_CHARACTERS])
                for before, after in examples
            )
            for repair, examples in tally.examples.items()
        },
    )
    (folder / REPORT_FILE).write_text(report.model_dump_json(by_alias=True, indent=2), encoding="utf-8")
