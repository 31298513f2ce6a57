"""What is wrong with the job as a whole, in words that name the field to change."""

from __future__ import annotations

from finetune_api.contract import ExitCode
from finetune_api.result import Published
from finetune_api.spec import Data, IfExists, Output, Split, Training
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.ledger import REJECTED_FILE, REMOVED_FILE
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepared import SPLITS, Manifest
from finetune_trainer.tasks.labels import LabelRules

FEW_ROWS = 10
"""Fewer rejected rows than this never fail a job."""


def check_rows(tally: Tally, data: Data) -> None:
    """After pass 1: there are rows, and they have the fields that the spec maps. Raises StageFailed."""
    if tally.rows == 0:
        raise StageFailed(
            ExitCode.MISMATCH, "DataEmpty", "spec.data.sources: there are no rows", field="spec.data.sources"
        )
    names = ", ".join(name.encode("utf-8", "backslashreplace").decode() for name in sorted(tally.field_names)[:20])
    for field, rows in tally.absent.items():
        if rows == tally.parsed:
            message = f"{field}: no row has the field it needs; the rows have: {names}"
            raise StageFailed(ExitCode.MISMATCH, "FieldAbsent", message, field=field)
    if data.split.group_by is not None and tally.parsed and not tally.grouped:
        field = "spec.data.split.groupBy"
        message = f"{field}: no row has the field {data.split.group_by!r}; the rows have: {names}"
        raise StageFailed(ExitCode.MISMATCH, "FieldAbsent", message, field=field)


def check_rejected(manifest: Manifest, data: Data, data_uri: str) -> None:
    """No more rows are rejected than the spec allows. Raises StageFailed with the first ten places."""
    summary = manifest.summary
    allowed = max(FEW_ROWS - 1, summary.rows_read * data.max_bad_row_percent // 100)
    if summary.rows_rejected <= allowed:
        return
    too_long = manifest.rows_too_long * 2 > summary.rows_rejected
    field = "spec.training.sequenceLength" if too_long else "spec.data.sources"
    share = 100 * summary.rows_rejected / summary.rows_read
    raise StageFailed(
        ExitCode.BAD_ROWS,
        "TooManyBadRows",
        f"{summary.rows_rejected} of {summary.rows_read} rows ({share:.1f} %) are "
        f"{'longer than ' + field if too_long else 'unreadable or invalid'}, "
        f"spec.data.maxBadRowPercent is {data.max_bad_row_percent}; all of them with reasons: "
        f"{data_uri}/rejected.jsonl",
        field=field,
        places=manifest.places,
    )


def check_splits(manifest: Manifest, split: Split) -> None:
    """No split that the spec asks for is empty. Raises StageFailed."""
    counts = manifest.summary.splits
    asked = (split.train_percent, split.validation_percent, split.test_percent)
    empty = [
        name
        for name, rows, percent in zip(SPLITS, (counts.train, counts.validation, counts.test), asked, strict=True)
        if percent and not rows
    ]
    if empty:
        rows = counts.train + counts.validation + counts.test
        message = (
            f"spec.data.split: {' and '.join(empty)} got none of the {rows} usable rows; "
            "add rows, or change its percentages or its seed"
        )
        raise StageFailed(ExitCode.MISMATCH, "SplitEmpty", message, field="spec.data.split", places=manifest.places)


def check_watched(manifest: Manifest, training: Training) -> None:
    """There is something to validate on where validations decide when training ends. Raises StageFailed."""
    if training.early_stopping is not None and not manifest.summary.splits.validation:
        field = "spec.training.earlyStopping"
        message = f"{field}: no row is for validation; give spec.data.split.validationPercent, or a source, some"
        raise StageFailed(ExitCode.BAD_CONFIG, "NothingToWatch", message, field=field)


def check_train_rows(manifest: Manifest, data: Data, data_uri: str) -> None:
    """As many rows are left to train on as the spec asks for. Raises StageFailed."""
    summary = manifest.summary
    if summary.splits.train >= data.min_train_rows:
        return
    field = "spec.data.minTrainRows"
    message = (
        f"{field}: {summary.splits.train} rows are left to train on, {data.min_train_rows} are asked for; "
        f"of {summary.rows_read} rows {summary.rows_removed} were removed ({data_uri}/{REMOVED_FILE}) "
        f"and {summary.rows_rejected} rejected ({data_uri}/{REJECTED_FILE})"
    )
    raise StageFailed(ExitCode.MISMATCH, "TooFewRows", message, field=field, places=manifest.places)


def check_labels(manifest: Manifest, rules: LabelRules | None) -> None:
    """What is trained on has labels that can be told apart. Raises StageFailed."""
    if rules is None:
        return
    train = manifest.splits["train"]
    if not train.labels:
        message = f"{rules.field}: no row of train has a label"
    elif len(train.labels) == 1 and (not rules.multi_label or [train.documents] == list(train.labels.values())):
        message = f"{rules.field}: all rows of train have one and the same label: there is nothing to tell apart"
    else:
        return
    raise StageFailed(ExitCode.MISMATCH, "LabelsTooFew", message, field=rules.field)


def check_published(published: Published | None, output: Output) -> None:
    """This very run is not there already, unless it may be used again. Raises StageFailed."""
    if published is not None and output.if_exists is IfExists.FAIL:
        field = "spec.output.ifExists"
        message = f"{field} is Fail, and this very run is already published: {published.manifest_uri}"
        raise StageFailed(ExitCode.BAD_CONFIG, "OutputExists", message, field=field)
