"""`finetune run`: one FineTuneJob on this machine, by the same reconcile loop and the same Jobs as in a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from finetune_api.job import FineTuneJob
from finetune_api.status import ConditionType
from finetune_operator.apply.local.machine import Machine, find_gpus
from finetune_operator.cli import outcome
from finetune_operator.cli.lines import print_lines
from finetune_operator.cli.local_job import notes, pod_environ, refusals
from finetune_operator.cli.one_job import Refused, exit_status, need_trainer, read_one
from finetune_operator.cli.session import Ended, Session, is_true
from finetune_operator.cli.state import default_root, hold
from finetune_operator.cli.view import view_for
from finetune_operator.settings import Settings

_SETTINGS = Settings(trainer_image="local", progress_seconds=1.0, grace_seconds=30, local_files=True)
logger = logging.getLogger(__name__)


def run(path: Path, *, state: Path | None, environ: Mapping[str, str], python: str) -> int:
    """The exit status: 0 when the model is published, 1 when it will not be, 128 + n when signal n stopped the run.

    `python` is the interpreter that the pods run, with the trainer installed.
    """
    return exit_status(path, lambda: _run(path, state or default_root(environ), environ, python))


def _run(path: Path, root: Path, environ: Mapping[str, str], python: str) -> int:
    console = Console(highlight=False)
    manifest = read_one(path, environ, verb="run")
    job = FineTuneJob.observed(manifest)
    gpus = find_gpus(environ) if job.spec.workers.gpus_per_node else ()
    if found := refusals(job, num_gpus=len(gpus)):
        raise Refused(*(f"{path}: {problem}" for problem in found))
    need_trainer(python)
    with hold(root, job) as held:
        for note in notes(job):
            console.print(Text(note, style="dim"))
        machine = Machine(folder=held.folder, python=python, environ=pod_environ(environ), gpus=gpus)
        log = held.folder / "finetune.log"
        logging.basicConfig(filename=log, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
        try:
            ended = asyncio.run(_session(manifest, held.uid, machine, console))
        except Exception:
            logger.exception("finetune run crashed")
            raise Refused(f"finetune run itself failed, and ended what it had started; the trace is in {log}") from None
    return _tell(console, ended, path)


async def _session(manifest: dict[str, Any], uid: str, machine: Machine, console: Console) -> Ended:
    with view_for(console, _now) as view:
        return await Session(machine, _SETTINGS, _now, view).run(manifest, uid)


def _tell(console: Console, ended: Ended, path: Path) -> int:
    if is_true(ended.job.status, ConditionType.SUCCEEDED):
        print_lines(console, outcome.success(ended.job, outcome.read_samples(ended.job)))
        return 0
    if ended.stopped_by is not None:
        console.print(Text(f"Stopped. `finetune run {path}` goes on from the last checkpoint."))
        return 128 + ended.stopped_by
    print_lines(console, outcome.failure(ended.job, ended.log))
    return 1


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the process's edge
