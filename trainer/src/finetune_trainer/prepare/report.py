"""report.json: what preparation did to the data, for people and for the page of the finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic.alias_generators import to_camel

from finetune_api.model import Model
from finetune_api.result import DataSummary
from finetune_trainer.prepare.barrier import Findings
from finetune_trainer.prepare.clean import field_of
from finetune_trainer.prepare.ledger import Ledger
from finetune_trainer.prepare.scan import Tally
from finetune_trainer.prepared import SplitFiles

REPORT_FILE: Final = "report.json"
_EXAMPLE_CHARACTERS = 300


class Example(Model):
    """A text that cleaning changed, cut to a few hundred characters around the first change."""

    before: str
    after: str


class CleaningStep(Model):
    """What one step of cleaning did."""

    rows: int
    """Rows that it changed, those that were left out later included."""
    examples: tuple[Example, ...]
    """The first of them."""


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
    findings: Findings
    cleaning: dict[str, CleaningStep]
    """By the field of `spec.data.cleaning` that switches the step."""


def write_report(
    folder: Path,
    *,
    summary: DataSummary,
    contents: Mapping[str, SplitFiles],
    ledger: Ledger,
    tally: Tally,
    findings: Findings,
) -> None:
    """Write report.json."""
    report = PreparationReport(
        summary=summary,
        splits=dict(contents),
        rejected={kind.value: rows for kind, rows in ledger.rejected.items()},
        removed={kind.value: rows for kind, rows in ledger.removed.items()},
        shapes={shape.value: rows for shape, rows in tally.shapes.items()},
        encodings={encoding.value: files for encoding, files in tally.encodings.items()},
        findings=findings,
        cleaning={
            to_camel(field_of(step)): CleaningStep(
                rows=rows, examples=tuple(_example(*texts) for texts in tally.examples.get(step, ()))
            )
            for step, rows in sorted(tally.steps.items())
        },
    )
    (folder / REPORT_FILE).write_text(report.model_dump_json(by_alias=True, indent=2), encoding="utf-8")


def _example(before: str, after: str) -> Example:
    changed = next((at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(after))
    start = max(0, changed - _EXAMPLE_CHARACTERS // 2)
    cut = slice(start, start + _EXAMPLE_CHARACTERS)
    return Example(before=before[cut], after=after[cut])
