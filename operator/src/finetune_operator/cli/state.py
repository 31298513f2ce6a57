"""The folder that one job on this machine keeps between its runs: who it is, and that only one process runs it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_api.job import FineTuneJob


class InUse(Exception):
    """Another process runs this job now."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Held by this process alone."""

    folder: Path
    uid: str
    """The same for every run, so that a run which follows a killed one owns what that one wrote."""


def default_root(environ: Mapping[str, str]) -> Path:
    """Where jobs keep their folders unless told otherwise."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(cache) / "finetune-operator" / "runs"


@contextlib.contextmanager
def hold(root: Path, job: FineTuneJob) -> Iterator[State]:
    """The folder of the job of this name and output. Raises InUse, or OSError when it cannot be made."""
    output = hashlib.sha256(job.spec.output.uri.encode()).hexdigest()[:8]
    folder = root.absolute() / f"{job.metadata.name}-{output}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{job.metadata.name} is run"):
        yield State(folder=folder, uid=_uid(folder / "uid"))


@contextlib.contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """No other process holds this folder. Raises InUse, which says that `doing` by another process goes on."""
    with (folder / "lock").open("a+") as lock:
        try:
            # The kernel lets go of it however the process ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InUse(f"{doing} by process {lock.read().strip()} already") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _uid(path: Path) -> str:
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text(str(uuid.uuid4()))
        fresh.rename(path)
    return path.read_text()
