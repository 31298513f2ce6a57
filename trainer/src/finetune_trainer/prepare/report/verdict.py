"""What the figures of a preparation say, in one sentence, and what a person should look at. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from finetune_trainer.prepare.excerpt import beginning
from finetune_trainer.prepare.ledger import Rejection, Removal
from finetune_trainer.prepare.read import Encoding
from finetune_trainer.prepare.report.model import Figures, Point, Verdict

MANY_REJECTED_PERCENT: Final = 1
FEW_REJECTED: Final = 10
"""So few say nothing about the rest, whatever their share."""
MANY_REPEATED_PERCENT: Final = 5
MANY_FILTERED_PERCENT: Final = 50
MANY_CHANGED_PERCENT: Final = 20
"""Damage in so many rows is rare; a step that finds it may be wrong about this data."""
FEW_TRAIN_ROWS: Final = 50


def judge(figures: Figures) -> Verdict:
    """The figures say the same whatever share of bad rows the job allows."""
    points = tuple(_points(figures))
    summary = figures.summary
    counts = {"train": summary.splits.train, "validation": summary.splits.validation, "test": summary.splits.test}
    empty = [name for name, rows in counts.items() if not rows and figures.percents.get(name)]
    kept = f"{sum(counts.values()):,} of {rows_of(summary.rows_read)}"
    if empty:
        sentence = f"Not ready to train: {' and '.join(empty)} got none of {rows_of(sum(counts.values()))}"
    elif _many_rejected(figures):
        sentence = f"Look before you train: {rows_of(summary.rows_rejected)} of {summary.rows_read:,} were rejected"
    elif points:
        things = "1 thing" if len(points) == 1 else f"{len(points)} things"
        sentence = f"Good to train: {kept}; {things} to look at"
    else:
        sentence = f"Good to train: {kept}; nothing to look at"
    return Verdict(sentence=sentence, points=points)


def rows_of(count: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} row{'s' * (count != 1)}"


def percent(part: int, whole: int) -> str:
    """A share as people write it: `0.3 %`, `12 %`, `< 0.1 %`."""
    share = 100 * part / max(1, whole)
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"


def _many_rejected(figures: Figures) -> bool:
    rejected, read = figures.summary.rows_rejected, figures.summary.rows_read
    return rejected >= FEW_REJECTED and rejected * 100 > read * MANY_REJECTED_PERCENT


def _points(figures: Figures) -> Iterator[Point]:
    yield from _left_out(figures)
    yield from _together(figures)
    yield from _changed(figures)


def _left_out(figures: Figures) -> Iterator[Point]:
    read = figures.summary.rows_read
    too_long = figures.rejected.get(Rejection.TOO_LONG, 0)
    wrong = figures.summary.rows_rejected - too_long
    if wrong:
        text = f"{rows_of(wrong)} ({percent(wrong, read)}) cannot be read or make no sense"
        yield Point(section="rejected", text=text)
    if too_long:
        length = f"{figures.sequence_length:,} tokens (spec.training.sequenceLength)"
        yield Point(section="lengths", text=f"{rows_of(too_long)} left out: longer than {length}")
    if figures.summary.rows_truncated:
        text = (
            f"{rows_of(figures.summary.rows_truncated)} too long: the beginning of the prompt was cut, never an answer"
        )
        yield Point(section="lengths", text=text)
    repeated = sum(figures.removed.get(kind, 0) for kind in (Removal.DUPLICATE, Removal.NEAR_DUPLICATE))
    if repeated * 100 > read * MANY_REPEATED_PERCENT:
        text = f"{rows_of(repeated)} ({percent(repeated, read)}) removed: repeats of an earlier row"
        yield Point(section="duplicates", text=text)
    filtered = figures.removed.get(Removal.FILTERED, 0)
    if filtered * 100 > read * MANY_FILTERED_PERCENT:
        yield Point(section="removed", text=f"the filters of spec.data.cleaning leave out {percent(filtered, read)}")
    if empty := figures.removed.get(Removal.EMPTY, 0):
        yield Point(section="removed", text=f"{rows_of(empty)} removed: there is nothing to learn")


def _together(figures: Figures) -> Iterator[Point]:
    findings, train = figures.findings, figures.summary.splits.train
    if findings.conflicts:
        inputs = "1 input has" if findings.conflicts == 1 else f"{findings.conflicts:,} inputs have"
        yield Point(section="conflicts", text=f"{inputs} more than one output; all of these rows stay")
    if quoted := figures.removed.get(Removal.CONTAMINATED, 0):
        text = f"{rows_of(quoted)} removed: quoted by training rows, or quoting a benchmark"
        yield Point(section="removed", text=text)
    if 0 < train < FEW_TRAIN_ROWS:
        yield Point(section="splits", text=f"{rows_of(train)} to train on: expect the model to learn them by heart")
    for warning in findings.warnings:
        yield Point(section="splits", text=beginning(warning))
    if findings.moved:
        yield Point(section="splits", text=f"{rows_of(findings.moved)} moved to another split since the last time")


def _changed(figures: Figures) -> Iterator[Point]:
    read = figures.summary.rows_read
    for step, done in figures.cleaning.items():
        if done.rows * 100 > read * MANY_CHANGED_PERCENT and done.rows >= FEW_REJECTED:
            text = f"{step} changed {percent(done.rows, read)} of the rows: see in the examples whether it is right"
            yield Point(section="cleaning", text=text)
    if files := figures.encodings.get(Encoding.CP1252, 0):
        amount = "1 file is" if files == 1 else f"{files:,} files are"
        yield Point(section="files", text=f"{amount} read as cp1252, which is a guess: look for wrong letters")
