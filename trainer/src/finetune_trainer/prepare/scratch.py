"""The local folder of one preparation, and an end to those that were left by preparations that were killed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_PREFIX = "prepare-"


@contextmanager
def work_folder(scratch: Path) -> Iterator[Path]:
    """A new folder in `scratch`, removed at the end. What others that still run have there stays."""
    with _locked(scratch, fcntl.LOCK_EX):  # nobody takes the new folder for an old one
        for left in scratch.glob(f"{_PREFIX}*"):
            try:
                with _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(left, ignore_errors=True)
            except BlockingIOError:
                continue  # its owner lives
        folder = TemporaryDirectory(prefix=_PREFIX, dir=scratch)
        descriptor = os.open(folder.name, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with folder as name:
            yield Path(name)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
