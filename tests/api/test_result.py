from __future__ import annotations

import json

import pytest

from finetune_api.contract import RESULT_MAX_BYTES, Stage
from finetune_api.result import (
    DataSummary,
    Failure,
    Metrics,
    Prepared,
    Published,
    Resolved,
    Result,
    SplitCounts,
)
from finetune_api.spec import LoRA, Output, Precision

LARGE = 2**53 - 1
DIGEST = "f" * 64
# The longest that the API allows, so that what a job was allowed to be is never the reason for a lost Result.
URI = "s3://abc/" + "u" * (300 - len("s3://abc/"))
# All there are: preparation refuses other names.
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _failed(message: str, places: tuple[str, ...] = ()) -> Result:
    failure = Failure(reason="TooManyBadRows", message=message, field="spec.data.sources", places=places)
    return Result(stage=Stage.PREPARE, attempt=1, failure=failure)


def _published() -> Published:
    loss = 3.141592653589793
    return Published(
        step=LARGE,
        epoch=LARGE,
        model_uri=f"{URI}/runs/{DIGEST}/model",
        report_uri=f"{URI}/runs/{DIGEST}/reports/{DIGEST}/report.html",
        manifest_uri=f"{URI}/runs/{DIGEST}/model/{DIGEST}/manifest.json",
        manifest_sha256=DIGEST,
        metrics=Metrics(**dict.fromkeys(Metrics.model_fields, loss)),
    )


def _longest() -> Result:
    splits = SplitCounts(train=LARGE, validation=LARGE, test=LARGE)
    data = DataSummary(
        files=LARGE,
        rows_read=LARGE,
        rows_cleaned=LARGE,
        rows_rejected=LARGE,
        rows_removed=LARGE,
        splits=splits,
        train_tokens=LARGE,
        trained_tokens=LARGE,
    )
    resolved = Resolved(
        total_steps=LARGE,
        steps_per_epoch=LARGE,
        global_batch_size=LARGE,
        warmup_steps=LARGE,
        decay_steps=LARGE,
        learning_rate=1.2345678901234567e-05,
        precision=Precision.BFLOAT16,
        target_modules=MODULES,
        validate_every=LARGE,
        validation_rows=LARGE,
    )
    prepared = Prepared(
        run=DIGEST,
        model_digest=DIGEST,
        data_uri=f"{URI}/prepared/{DIGEST}",
        data_digest=DIGEST,
        data=data,
        resolved=resolved,
        published=_published(),
    )
    return Result(stage=Stage.PREPARE, attempt=LARGE, prepared=prepared, checkpoint_step=LARGE)


def test_the_longest_result_of_a_valid_job_fits_a_termination_message() -> None:
    assert Output.parse({"uri": URI}).uri == URI
    assert LoRA.parse({"targetModules": list(MODULES)}).target_modules == MODULES
    assert len(_longest().encode()) <= RESULT_MAX_BYTES


def test_a_result_is_read_back() -> None:
    assert Result.parse(json.loads(_longest().encode())) == _longest()


def test_a_failure_that_fits_is_kept_whole() -> None:
    result = _failed("3 of 4 rows are invalid.", ("a.jsonl:1", "a.jsonl:2"))
    assert Result.parse(json.loads(result.encode())) == result


def test_places_go_before_the_message_is_cut() -> None:
    result = _failed("x" * 1024, tuple("p" * 250 for _ in range(10)))
    read = Result.parse(json.loads(result.encode()))
    assert read == _failed("x" * 1024)


@pytest.mark.parametrize("character", ["é", "😀", '"', "\\", "\n", "\x01", "€"])
def test_a_message_is_cut_between_characters(character: str) -> None:
    result = _failed(character * 1024)
    encoded = result.encode()
    assert len(encoded) <= RESULT_MAX_BYTES
    failure = Result.parse(json.loads(encoded)).failure
    assert failure is not None
    kept = failure.message.removesuffix("…")
    assert kept == character * len(kept) and len(kept) > 500
