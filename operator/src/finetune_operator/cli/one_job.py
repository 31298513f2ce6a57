"""The one FineTuneJob that a verb works on, as this machine reads it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.snapshot import Snapshot
from finetune_operator.cli.local_job import with_home
from finetune_operator.cli.manifest import read_manifests
from finetune_operator.cli.state import InUse


class Refused(Exception):
    """Not to be run as it is: each argument is one problem, in words for the user."""


def exit_status(path: Path, command: Callable[[], int]) -> int:
    """What `command` returns; where it raises Refused, InUse or OSError, 1 once the reason is on standard error."""
    errors = Console(stderr=True, highlight=False)
    try:
        return command()
    except Refused as refused:
        problems = refused.args
    except (InUse, OSError) as error:
        problems = (f"{path}: {error}",)
    for problem in problems:
        errors.print(problem, markup=False, soft_wrap=True)
    return 1


def read_one(path: Path, environ: Mapping[str, str], *, verb: str) -> dict[str, Any]:
    """The manifest in this file, paths of the home folder spelt out. Raises Refused."""
    read = read_manifests(path)
    if read.problems:
        raise Refused(*(str(problem) for problem in read.problems))
    if len(read.manifests) != 1:
        names = ", ".join(manifest.job.metadata.name for manifest in read.manifests)
        raise Refused(f"{path}: holds {len(read.manifests)} FineTuneJobs ({names}); finetune {verb} takes one")
    manifest: dict[str, Any] = with_home(read.manifests[0].body, Path(environ.get("HOME", "~")).expanduser())
    return {**manifest, "metadata": {"namespace": "default", **manifest["metadata"]}}


def preparation(job: FineTuneJob) -> Snapshot:
    """What the trainer is told of a job whose data or model alone are looked at."""
    return Snapshot(
        name=job.metadata.name,
        namespace=job.metadata.namespace,
        uid=job.metadata.uid,
        stage=Stage.PREPARE,
        attempt=1,
        spec=job.spec,
    )


def need_trainer(python: str) -> None:
    """Raises Refused where there is none to run."""
    if importlib.util.find_spec("finetune_trainer") is None:
        raise Refused(f"finetune-trainer is not installed beside this command, for {python}")
