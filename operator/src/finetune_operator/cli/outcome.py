"""What a finished job is told to a person with: rows, losses, answers before and after, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import ConditionType
from finetune_operator.cli.stage_line import duration, rows
from finetune_operator.decide.conditions import condition
from finetune_operator.decide.reasons import Reason

_LONGEST_TEXT = 400
_MOST_LINES = 6
_NUM_SAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One test row and how the model answers it."""

    prompt: str
    expected: str
    before: str
    after: str


def success(job: FineTuneJob, samples: tuple[Sample, ...]) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line; a line that goes on has no heading."""
    status = job.status
    if status.start_time and status.finish_time:
        yield "Finished", f"in {duration((status.finish_time - status.start_time).total_seconds())}"
    succeeded = condition(status, ConditionType.SUCCEEDED)
    if succeeded is not None and succeeded.reason == Reason.REUSED:
        yield "Reused", "this very run was published before, so nothing was trained"
    if status.data is not None:
        yield "Rows", rows(status.data)
    metrics = status.metrics
    if metrics is not None and metrics.test_accuracy is not None and metrics.test_macro_f1 is not None:
        before = "not measured" if metrics.base_test_accuracy is None else f"{metrics.base_test_accuracy:.1%}"
        yield "Test accuracy", f"{metrics.test_accuracy:.1%}, always the commonest label has {before}"
    elif metrics is not None and metrics.test_loss is not None:
        before = "not measured" if metrics.base_test_loss is None else f"{metrics.base_test_loss:.3f}"
        yield "Test loss", f"{before} before, {metrics.test_loss:.3f} after (nats per answer token)"
    for number, sample in enumerate(samples, start=1):
        yield "", ""
        yield f"Test row {number}", _shorten(sample.prompt)
        yield "expected", _shorten(sample.expected)
        yield "before", _shorten(sample.before)
        yield "after", _shorten(sample.after)
    if status.artifacts is not None:
        yield "", ""
        yield "Model", local(status.artifacts.model_uri)
        yield "Report", local(status.artifacts.report_uri)


def failure(job: FineTuneJob, log: Path | None) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line."""
    status = job.status
    found = status.failure
    if found is not None:
        yield from what_failed(found)
    else:
        yield (status.phase or "Failed"), ""
    if log is not None:
        yield "Log", str(log)


def what_failed(found: Failure) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line."""
    yield "Failed", f"{found.message} ({found.reason})"
    if found.field is not None:
        yield "Change", found.field
    for number, place in enumerate(found.places):
        yield "Places" if number == 0 else "", place


def read_samples(job: FineTuneJob) -> tuple[Sample, ...]:
    """The first ones beside the report; none when it lies in S3, which this command does not read."""
    if job.status.artifacts is None or not job.status.artifacts.report_uri.startswith("file://"):
        return ()
    try:
        text = Path(local(job.status.artifacts.report_uri)).with_name("samples.json").read_text()
    except FileNotFoundError:  # evaluation.generateRows: 0
        return ()
    found: list[dict[str, Any]] = json.loads(text)
    return tuple(
        Sample(prompt=row["prompt"], expected=row["expected"], before=row["before"], after=row["after"])
        for row in found[:_NUM_SAMPLES]
    )


def local(uri: str) -> str:
    """A path where the URI is one."""
    return uri.removeprefix("file://")


def _shorten(text: str) -> str:
    """Lines stay lines, for many a prompt is code."""
    lines = [line.rstrip() for line in text[:_LONGEST_TEXT].splitlines() if line.strip()]
    is_cut = len(text) > _LONGEST_TEXT or len(lines) > _MOST_LINES
    return "\n".join(lines[:_MOST_LINES]) + (" …" if is_cut else "")
