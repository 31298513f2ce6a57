"""`finetune run`: one FineTuneJob on this machine, by the same reconcile loop and the same Jobs as in a cluster."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from finetune_api.job import FineTuneJob
from finetune_api.status import ConditionType
from finetune_operator.apply.local.machine import Machine, find_gpus
from finetune_operator.cli import outcome
from finetune_operator.cli.local_job import notes, refusals, with_home
from finetune_operator.cli.manifest import read_manifests
from finetune_operator.cli.session import Ended, Session, is_true
from finetune_operator.cli.state import InUse, default_root, hold
from finetune_operator.cli.view import view_for
from finetune_operator.settings import Settings

_SETTINGS = Settings(trainer_image="local", progress_seconds=1.0, grace_seconds=30, local_files=True)
_HEADING_WIDTH = 12
logger = logging.getLogger(__name__)


class Refused(Exception):
    """Not to be run as it is: each argument is one problem, in words for the user."""


def run(path: Path, *, state: Path | None, environ: Mapping[str, str], python: str) -> int:
    """The exit status: 0 when the model is published, 1 when it will not be, 128 + n when signal n stopped the run.

    `python` is the interpreter that the pods run, with the trainer installed.
    """
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    try:
        return _run(path, state or default_root(environ), environ, python, console)
    except Refused as refused:
        for problem in refused.args:
            errors.print(problem, markup=False, soft_wrap=True)
    except (InUse, OSError) as error:
        errors.print(f"{path}: {error}", markup=False, soft_wrap=True)
    return 1


def _run(path: Path, root: Path, environ: Mapping[str, str], python: str, console: Console) -> int:
    manifest = _read(path, Path(environ.get("HOME", "~")).expanduser())
    job = FineTuneJob.observed(manifest)
    gpus = find_gpus(environ) if job.spec.workers.gpus_per_node else ()
    if found := refusals(job, num_gpus=len(gpus)):
        raise Refused(*(f"{path}: {problem}" for problem in found))
    if importlib.util.find_spec("finetune_trainer") is None:
        raise Refused(f"finetune-trainer is not installed beside this command, for {python}")
    with hold(root, job) as held:
        for note in notes(job):
            console.print(Text(note, style="dim"))
        machine = Machine(folder=held.folder, python=python, environ=_pod_environ(environ), gpus=gpus)
        log = held.folder / "finetune.log"
        logging.basicConfig(filename=log, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
        try:
            ended = asyncio.run(_session(manifest, held.uid, machine, console))
        except Exception:
            logger.exception("finetune run crashed")
            raise Refused(f"finetune run itself failed, and ended what it had started; the trace is in {log}") from None
    return _tell(console, ended, path)


def _read(path: Path, home: Path) -> dict[str, Any]:
    read = read_manifests(path)
    if read.problems:
        raise Refused(*(str(problem) for problem in read.problems))
    if len(read.manifests) != 1:
        names = ", ".join(manifest.job.metadata.name for manifest in read.manifests)
        raise Refused(f"{path}: holds {len(read.manifests)} FineTuneJobs ({names}); finetune run takes one")
    manifest: dict[str, Any] = with_home(read.manifests[0].body, home)
    return {**manifest, "metadata": {"namespace": "default", **manifest["metadata"]}}


async def _session(manifest: dict[str, Any], uid: str, machine: Machine, console: Console) -> Ended:
    with view_for(console, _now) as view:
        return await Session(machine, _SETTINGS, _now, view).run(manifest, uid)


def _tell(console: Console, ended: Ended, path: Path) -> int:
    if is_true(ended.job.status, ConditionType.SUCCEEDED):
        _print(console, outcome.success(ended.job, outcome.read_samples(ended.job)))
        return 0
    if ended.stopped_by is not None:
        console.print(Text(f"Stopped. `finetune run {path}` goes on from the last checkpoint."))
        return 128 + ended.stopped_by
    _print(console, outcome.failure(ended.job, ended.log))
    return 1


def _print(console: Console, lines: Iterable[tuple[str, str]]) -> None:
    """Prose is wrapped beside its heading; a path stays whole, to be copied."""
    console.print()
    for heading, text in lines:
        body = [part for line in text.splitlines() for part in _wrap(line, console.width - _HEADING_WIDTH)]
        for number, part in enumerate(body or [""]):
            title = heading if number == 0 else ""
            line = Text.assemble((title.ljust(_HEADING_WIDTH), "bold"), part)
            line.rstrip()
            console.print(line, soft_wrap=True)


def _wrap(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _pod_environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    """A pod has a home of its own, so what AWS's tools and the Hub's look for in the caller's is named."""
    home = Path(environ.get("HOME", "~")).expanduser()
    hub = Path(environ.get("HF_HOME", home / ".cache" / "huggingface"))
    files = {
        "AWS_CONFIG_FILE": home / ".aws" / "config",
        "AWS_SHARED_CREDENTIALS_FILE": home / ".aws" / "credentials",
        "HF_TOKEN_PATH": hub / "token",
    }
    return {**{name: str(file) for name, file in files.items() if file.exists()}, **environ}


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the process's edge
