"""The commands: `prepare`, `train` and `result` of the Jobs; of people `data`, prepare without weights, and `shape`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from finetune_api.contract import ExitCode, Stage
from finetune_api.progress import Progress
from finetune_api.result import Result
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.commit import read_head
from finetune_trainer.checkpoint.layout import run_uri
from finetune_trainer.cores import own_cores
from finetune_trainer.failures import StageFailed
from finetune_trainer.last_words import last_words
from finetune_trainer.launch import launch
from finetune_trainer.log_lines import ProgressLines
from finetune_trainer.pod import Pod, SnapshotUnknown
from finetune_trainer.prepare import prepare, prepare_data
from finetune_trainer.prepare.model import read_shape
from finetune_trainer.progress import serving
from finetune_trainer.publication import read_published
from finetune_trainer.signals import STOPPING
from finetune_trainer.storage import Storage, open_storage

CPUINFO = Path("/proc/cpuinfo")
MOST_PROCESSES = 8
"""Of preparation: each takes some 200 MB, and what one of them must do alone is a tenth of the work."""
BYTES_EACH = 1 << 20
"""Raw data that is worth a process: a small job is done before it has started."""


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    commands: dict[str, Callable[[Pod, Snapshot], int]] = {
        "prepare": _prepare,
        "data": _data,
        "train": lambda pod, snapshot: launch(pod, snapshot, environ=environ),
        "result": _result,
        "shape": _shape,
    }
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: python -m finetune_trainer {' | '.join(commands)}", file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIG
    pod = Pod.from_env(environ)
    try:
        snapshot = pod.read_snapshot()
    except SnapshotUnknown as unknown:
        told = unknown.envelope
        code, result = last_words(unknown, stage=told.stage, attempt=told.attempt)
        pod.result.write_bytes(result.encode())
        return code
    return commands[arguments[0]](pod, snapshot)


def _prepare(pod: Pod, snapshot: Snapshot) -> int:
    def work(storage: Storage, report: Callable[[Progress], None]) -> Result:
        found = prepare(
            snapshot,
            storage=storage,
            scratch=pod.scratch,
            report=report,
            cpuinfo=CPUINFO.read_text() if CPUINFO.exists() else "",
            processes=partial(_processes, pod),
        )
        return Result(stage=Stage.PREPARE, attempt=snapshot.attempt, prepared=found)

    return _carry_out_visibly(pod, snapshot, work)


def _data(pod: Pod, snapshot: Snapshot) -> int:
    def work(storage: Storage, report: Callable[[Progress], None]) -> Result:
        page = prepare_data(
            snapshot, storage=storage, scratch=pod.scratch, report=report, processes=partial(_processes, pod)
        )
        return Result(stage=Stage.PREPARE, attempt=snapshot.attempt, report_uri=page)

    return _carry_out_visibly(pod, snapshot, work)


def _carry_out_visibly(
    pod: Pod, snapshot: Snapshot, work: Callable[[Storage, Callable[[Progress], None]], Result]
) -> int:
    """As `_carry_out`, with what `work` reports told to whoever asks."""
    latest: list[Progress | None] = [None]
    tell = ProgressLines(time.monotonic)

    def report(progress: Progress) -> None:
        latest[0] = progress
        tell(progress)

    def seen(storage: Storage) -> Result:
        with serving(lambda: latest[0], port=pod.progress_port, loopback=bool(pod.hosts)):
            return work(storage, report)

    return _carry_out(pod, snapshot, seen)


def _processes(pod: Pod, size: int) -> int:
    """That preparation may use for so many bytes of raw data."""
    return max(1, min(MOST_PROCESSES, own_cores(pod.cores), size // BYTES_EACH))


def _result(pod: Pod, snapshot: Snapshot) -> int:
    """Say again what a finished run has published, for an operator that could not read its last words."""

    def work(storage: Storage) -> Result:
        if snapshot.prepared is None:
            raise StageFailed(ExitCode.BAD_CONFIG, "NotPrepared", "the result of a run needs the Result of prepare")
        spec, run = snapshot.spec, snapshot.prepared.run
        published = read_published(storage, spec, run)
        if published is None:
            head = read_head(storage, run_uri(spec.output.uri, run))
            step = head.checkpoints[-1].step if head and head.checkpoints else 0
            raise StageFailed(ExitCode.RETRY, "NotPublished", f"run {run} is not published yet; step {step} is saved")
        return Result(stage=Stage.TRAIN, attempt=snapshot.attempt, published=published)

    return _carry_out(pod, snapshot, work)


def _shape(pod: Pod, snapshot: Snapshot) -> int:
    """Say what config.json says of the base model, for an estimate."""

    def work(storage: Storage) -> Result:
        shape = read_shape(storage, snapshot.spec.model.uri)
        return Result(stage=Stage.PREPARE, attempt=snapshot.attempt, shape=shape)

    return _carry_out(pod, snapshot, work)


def _carry_out(pod: Pod, snapshot: Snapshot, work: Callable[[Storage], Result]) -> int:
    """Run `work` to its end, write the Result, return the exit code."""

    def stop(*_: object) -> None:
        raise SystemExit(ExitCode.STOPPED)

    for number in STOPPING:
        signal.signal(number, stop)
    access = snapshot.spec.storage
    code: int
    try:
        code, result = 0, work(open_storage(endpoint=access.endpoint, region=access.region))
    except SystemExit:
        stopped = StageFailed(ExitCode.STOPPED, "Stopped", "told to stop")
        code, result = last_words(stopped, stage=snapshot.stage, attempt=snapshot.attempt)
    except Exception as error:  # noqa: BLE001 the stage's end needs words, whatever it was
        code, result = last_words(error, stage=snapshot.stage, attempt=snapshot.attempt)
    pod.result.write_bytes(result.encode())
    return code
