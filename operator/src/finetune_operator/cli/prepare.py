"""`finetune prepare`: the data of one FineTuneJob on this machine, by the command that prepares it in a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from finetune_api.job import FineTuneJob
from finetune_api.model import Model
from finetune_api.result import DataSummary, Result
from finetune_operator.apply.local.shim import CANNOT_START
from finetune_operator.cli.lines import print_lines
from finetune_operator.cli.local_job import notes, pod_environ
from finetune_operator.cli.one_job import Refused, exit_status, need_trainer, preparation, read_one
from finetune_operator.cli.outcome import local, what_failed
from finetune_operator.cli.prepared_folder import PreparedFolder, hold_folder
from finetune_operator.cli.progress_line import progress_line
from finetune_operator.cli.stage_line import rows
from finetune_operator.cli.stage_process import StageProcess

_COMMAND: Final = "data"


class _Point(Model):
    text: str


class _Verdict(Model):
    sentence: str
    points: tuple[_Point, ...]


class _Report(Model):
    """As much of report.json as is told."""

    summary: DataSummary
    verdict: _Verdict


def prepare(path: Path, *, out: Path, environ: Mapping[str, str], python: str) -> int:
    """The exit status: that of the stage, 1 when it was not started, 128 + n when signal n stopped it.

    `python` is the interpreter that has the trainer installed.
    """
    return exit_status(path, lambda: _read_and_prepare(path, out, environ, python))


def _read_and_prepare(path: Path, out: Path, environ: Mapping[str, str], python: str) -> int:
    manifest = read_one(path, environ, verb="prepare")
    need_trainer(python)
    with hold_folder(out) as folder:
        return _prepare(_job(manifest, folder, out), folder, pod_environ(environ), python)


def _job(manifest: dict[str, Any], folder: PreparedFolder, out: Path) -> FineTuneJob:
    """The job with this folder in place of where its data and its model would go. Raises Refused."""
    spec, uri = manifest["spec"], f"file://{folder.path.as_posix()}"
    moved = {**spec, "data": {**spec["data"], "cacheUri": uri}, "output": {**spec["output"], "uri": uri}}
    try:
        return FineTuneJob.observed({**manifest, "spec": moved})
    except ValidationError as error:
        raise Refused(f"--out {out}: {error.errors(include_url=False)[0]['msg']}") from error


def _prepare(job: FineTuneJob, folder: PreparedFolder, environ: Mapping[str, str], python: str) -> int:
    console = Console(highlight=False)
    for note in notes(job):
        console.print(Text(note, style="dim"))
    snapshot = preparation(job)
    before = folder.data()
    with StageProcess(
        _COMMAND, snapshot, scratch=folder.scratch, log=folder.log, environ=environ, python=python
    ) as process:
        with progress_line(console, _now) as line:
            code = process.wait(line.show, lambda: line.note("stopping (Ctrl-C again: at once)"))
        result = process.result()
    if code < 0:
        console.print("Stopped. What is half done does not count; called again, it starts anew.")
        return 128 - code
    print_lines(console, _told(code, result, folder, before))
    return code


def _told(
    code: int, result: Result | None, folder: PreparedFolder, before: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line."""
    if result is None or (result.failure is None and result.report_uri is None):
        how = "could not be started" if code == CANNOT_START else f"ended with exit code {code} and left no word"
        yield "Failed", f"the trainer {how}"
    elif result.failure is not None:
        yield from what_failed(result.failure)
    if result is not None and result.report_uri is not None:
        yield from _data(Path(local(result.report_uri)), folder, before)
    if code:
        yield "Log", str(folder.log)


def _data(page: Path, folder: PreparedFolder, before: frozenset[str]) -> Iterator[tuple[str, str]]:
    report = _Report.model_validate_json(page.with_suffix(".json").read_bytes(), extra="ignore")
    digest = page.parent.name
    latest = folder.make_latest(digest)
    yield "Verdict", report.verdict.sentence
    for number, point in enumerate(report.verdict.points):
        yield "Look at" if number == 0 else "", point.text
    yield "Rows", rows(report.summary)
    yield "Tokens", f"{report.summary.train_tokens:,} to train on, {report.summary.trained_tokens:,} of them learnt"
    if digest in before:
        yield "Unchanged", "data and settings are those of an earlier time, so nothing was prepared anew"
    yield "Report", str(latest / page.name)
    yield "Records", str(latest / "records")
    if earlier := len(folder.data() - {digest}):
        yield "Kept", f"{earlier} earlier preparation{'s' * (earlier != 1)} in {folder.path / 'prepared'}"


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the process's edge
