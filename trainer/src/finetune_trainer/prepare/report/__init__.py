"""What preparation tells of its work: report.json for programs, report.html for people, both from the same value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic.alias_generators import to_camel

from finetune_api.result import DataSummary
from finetune_api.spec import Spec
from finetune_trainer.prepare.barrier.findings import Findings
from finetune_trainer.prepare.clean import field_of
from finetune_trainer.prepare.ledger import REJECTED_FILE, REMOVED_FILE, Ledger
from finetune_trainer.prepare.report.alike import Alike
from finetune_trainer.prepare.report.lengths import lengths_of
from finetune_trainer.prepare.report.model import (
    REPORT_FILE,
    CleaningStep,
    Example,
    Figures,
    LabelRows,
    PreparationReport,
)
from finetune_trainer.prepare.report.page import PAGE_FILE, report_page
from finetune_trainer.prepare.report.reasons import reasons_in
from finetune_trainer.prepare.report.verdict import judge
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepared import SPLITS, SplitFiles, open_split

__all__ = ["PAGE_FILE", "REPORT_FILE", "write_report"]

_MOST_SOURCES: Final = 50
_MOST_LABELS: Final = 1000


def write_report(
    folder: Path,
    *,
    spec: Spec,
    sources: Sequence[str],
    summary: DataSummary,
    contents: Mapping[str, SplitFiles],
    ledger: Ledger,
    tally: Tally,
    findings: Findings,
    alike: Alike,
) -> None:
    """Write report.json and report.html beside the lists and the splits that lie in `folder`, which are read back."""
    split = spec.data.split
    given = {source.split.name.lower() for source in spec.data.sources if source.split is not None}
    percents = dict(zip(SPLITS, (split.train_percent, split.validation_percent, split.test_percent), strict=True))
    lengths = {name: lengths_of(open_split(folder, name).lengths) for name in SPLITS}
    figures = Figures(
        sources=tuple(sources[:_MOST_SOURCES]),
        task=spec.task.type,
        sequence_length=spec.training.sequence_length,
        percents={name: percent for name, percent in percents.items() if name not in given},
        summary=summary,
        splits=dict(contents),
        rejected={kind.value: rows for kind, rows in ledger.rejected.items()},
        removed={kind.value: rows for kind, rows in ledger.removed.items()},
        reasons=(*reasons_in(folder / REJECTED_FILE), *reasons_in(folder / REMOVED_FILE)),
        shapes={shape.value: rows for shape, rows in tally.shapes.items()},
        encodings={encoding.value: files for encoding, files in tally.encodings.items()},
        findings=findings,
        duplicates=alike.duplicates,
        conflicts=alike.conflicts,
        cleaning={
            to_camel(field_of(step)): CleaningStep(
                rows=rows,
                examples=tuple(
                    Example(place=place, before=before, after=after)
                    for place, before, after in tally.examples.get(step, ())
                ),
            )
            for step, rows in sorted(tally.steps.items())
        },
        lengths={name: found for name, found in lengths.items() if found is not None},
        labels=_labels(contents),
    )
    report = PreparationReport(**dict(figures), verdict=judge(figures))
    (folder / REPORT_FILE).write_text(report.model_dump_json(by_alias=True, indent=2), encoding="utf-8")
    (folder / PAGE_FILE).write_text(report_page(report), encoding="utf-8")


def _labels(contents: Mapping[str, SplitFiles]) -> tuple[LabelRows, ...]:
    """The most frequent first."""
    names = {label for split in contents.values() for label in split.labels}
    rows = [LabelRows(label=name, **{split: contents[split].labels.get(name, 0) for split in SPLITS}) for name in names]
    rows.sort(key=lambda row: (-row.train - row.validation - row.test, row.label))
    return tuple(rows[:_MOST_LABELS])
