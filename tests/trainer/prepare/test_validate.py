"""What is wrong with the data as a whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from finetune_api.contract import ExitCode
from finetune_api.result import SplitCounts
from finetune_api.spec import Data, EarlyStopping, Source, Split, Training
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepare.validate import (
    check_rejected,
    check_rows,
    check_splits,
    check_train_rows,
    check_watched,
)
from finetune_trainer.prepared import FORMAT, Manifest
from results import PREPARED, but


def data(**fields: Any) -> Data:
    return Data(sources=(Source(uri="s3://raw/a.jsonl"),), **fields)


def manifest(
    *, read: int = 1000, rejected: int = 0, too_long: int = 0, splits: tuple[int, int, int] = (8, 1, 1)
) -> Manifest:
    train, validation, test = splits
    return Manifest(
        format=FORMAT,
        digest="d",
        sources=(),
        summary=but(
            PREPARED.data,
            rows_read=read,
            rows_rejected=rejected,
            splits=SplitCounts(train=train, validation=validation, test=test),
        ),
        splits={},
        places=("s3://raw/a.jsonl:7",),
        rows_too_long=too_long,
        files=(),
    )


def test_no_rows_at_all_is_a_mismatch() -> None:
    with pytest.raises(StageFailed, match="there are no rows") as failed:
        check_rows(Tally(), data())
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.MISMATCH, "spec.data.sources")


def test_a_mapped_field_that_no_row_has_is_named_with_those_that_are_there() -> None:
    field = "spec.task.instruction.completionField"
    tally = Tally(rows=5, parsed=4, absent=Counter({field: 4}), field_names={"question", "answer"})
    with pytest.raises(StageFailed, match="the rows have: answer, question") as failed:
        check_rows(tally, data())
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.MISMATCH, field)


def test_a_mapped_field_that_some_rows_lack_is_their_own_fault() -> None:
    check_rows(Tally(rows=5, parsed=4, absent=Counter({"spec.task.instruction.completionField": 3})), data())


def test_a_group_field_that_no_row_has_is_named() -> None:
    grouped = data(split=Split(group_by="ticket"))
    check_rows(Tally(rows=2, parsed=2, grouped=1), grouped)
    with pytest.raises(StageFailed, match="no row has the field 'ticket'; the rows have: id") as failed:
        check_rows(Tally(rows=2, parsed=2, field_names={"id"}), grouped)
    assert failed.value.failure.field == "spec.data.split.groupBy"


@pytest.mark.parametrize(
    ("read", "rejected", "percent", "fails"),
    [
        (1000, 10, 1, False),
        (1000, 11, 1, True),
        (20, 9, 0, False),
        (20, 10, 0, True),
        (1099, 10, 1, False),
        (100, 100, 100, False),
    ],
)
def test_too_many_bad_rows_end_the_job_but_never_fewer_than_ten(
    read: int, rejected: int, percent: int, fails: bool
) -> None:
    if not fails:
        check_rejected(manifest(read=read, rejected=rejected), data(max_bad_row_percent=percent), "s3://out/p")
        return
    with pytest.raises(StageFailed, match=r"s3://out/p/rejected\.jsonl") as failed:
        check_rejected(manifest(read=read, rejected=rejected), data(max_bad_row_percent=percent), "s3://out/p")
    assert failed.value.exit_code is ExitCode.BAD_ROWS
    assert failed.value.failure.field == "spec.data.sources"
    assert failed.value.failure.places == ("s3://raw/a.jsonl:7",)


def test_when_most_bad_rows_are_too_long_it_is_the_length_that_is_named() -> None:
    with pytest.raises(StageFailed, match=r"20 of 100 rows \(20\.0 %\) are longer than spec") as failed:
        check_rejected(manifest(read=100, rejected=20, too_long=15), data(), "s3://out/p")
    assert failed.value.failure.field == "spec.training.sequenceLength"


def test_a_split_that_is_asked_for_and_empty_is_named() -> None:
    check_splits(manifest(splits=(8, 1, 1)), Split())
    check_splits(manifest(splits=(8, 0, 1)), Split(train_percent=90, validation_percent=0, test_percent=10))
    with pytest.raises(StageFailed, match="validation and test got none of the 8 usable rows") as failed:
        check_splits(manifest(splits=(8, 0, 0)), Split())
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.MISMATCH, "spec.data.split")
    assert failed.value.failure.places == ("s3://raw/a.jsonl:7",)


def test_names_that_no_text_can_hold_are_told_escaped() -> None:
    field = "spec.task.instruction.completionField"
    tally = Tally(rows=1, parsed=1, absent=Counter({field: 1}), field_names={"\ud800"})
    with pytest.raises(StageFailed, match=r"the rows have: \\ud800") as failed:
        check_rows(tally, data())
    assert failed.value.failure.field == field


def test_fewer_rows_to_train_on_than_asked_for_are_told_with_where_the_others_went() -> None:
    check_train_rows(manifest(splits=(8, 1, 1)), data(min_train_rows=8), "s3://out/p")
    with pytest.raises(StageFailed) as failed:
        check_train_rows(manifest(read=1000, rejected=7, splits=(8, 1, 1)), data(min_train_rows=9), "s3://out/p")
    assert (failed.value.exit_code, failed.value.failure.reason) == (ExitCode.MISMATCH, "TooFewRows")
    assert failed.value.failure.field == "spec.data.minTrainRows"
    assert failed.value.failure.message == (
        "spec.data.minTrainRows: 8 rows are left to train on, 9 are asked for; of 1000 rows "
        f"{PREPARED.data.rows_removed} were removed (s3://out/p/removed.jsonl) and 7 rejected (s3://out/p/rejected.jsonl)"
    )


def test_early_stopping_needs_rows_to_validate_on() -> None:
    watched = Training(early_stopping=EarlyStopping())
    check_watched(manifest(), watched)
    check_watched(manifest(splits=(9, 0, 1)), Training())
    with pytest.raises(StageFailed, match="no row is for validation") as failed:
        check_watched(manifest(splits=(9, 0, 1)), watched)
    assert (failed.value.exit_code, failed.value.failure.field) == (
        ExitCode.BAD_CONFIG,
        "spec.training.earlyStopping",
    )
