"""The folder that `finetune prepare` writes: prepared data by its content, a link to the latest, and what it works in.

<folder>/prepared/<digest>/   as a job writes it below its cacheUri
         latest               link to one of these
         .work/               lock, log, and while it runs scratch files
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from finetune_operator.cli.one_job import Refused
from finetune_operator.cli.state import locked

_PREPARED: Final = "prepared"
_LATEST: Final = "latest"
_WORK: Final = ".work"
_OURS: Final = frozenset({_PREPARED, _LATEST, _WORK})


class PreparedFolder:
    """Held by this process alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / _WORK / "prepare.log"
        self.scratch = path / _WORK / "scratch"

    def data(self) -> frozenset[str]:
        """Digests of the data that lies here."""
        folder = self.path / _PREPARED
        return frozenset(entry.name for entry in folder.iterdir()) if folder.is_dir() else frozenset()

    def make_latest(self, digest: str) -> Path:
        """The link to this data, in place of the one before."""
        link, fresh = self.path / _LATEST, self.path / _WORK / _LATEST
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path(_PREPARED, digest))
        fresh.replace(link)
        return link


@contextlib.contextmanager
def hold_folder(path: Path) -> Iterator[PreparedFolder]:
    """Make it, or take one that was made so. Raises Refused when it holds anything else, InUse, or OSError."""
    absolute = path.absolute()
    if absolute.is_dir():
        foreign = sorted({entry.name for entry in absolute.iterdir()} - _OURS)
        if foreign:
            raise Refused(
                f"--out {path}: holds {foreign[0]!r}, which `finetune prepare` did not write; take another folder"
            )
    work = absolute / _WORK
    work.mkdir(parents=True, exist_ok=True)
    with locked(work, f"{path} is written"):
        folder = PreparedFolder(absolute)
        shutil.rmtree(folder.scratch, ignore_errors=True)  # of one that was killed
        folder.scratch.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder.scratch, ignore_errors=True)
