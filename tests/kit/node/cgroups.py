"""The control group of a node: made in every hierarchy, and removed with all that is in it."""

from __future__ import annotations

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    """One in version 2, one for each controller in version 1."""
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return sorted(path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink())


def make_cgroup(name: str) -> None:
    for hierarchy in _hierarchies():
        folder = hierarchy / name.lstrip("/")
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # In version 1 a group without them takes no process.
            if (hierarchy / setting).exists() and (folder / setting).exists():
                (folder / setting).write_text((hierarchy / setting).read_text())


def remove_cgroup(name: str, timeout_seconds: float = 20.0) -> None:
    """Its processes are dead, and the kernel may take a moment to believe that."""
    deadline = time.monotonic() + timeout_seconds
    for hierarchy in _hierarchies():
        top = hierarchy / name.lstrip("/")
        # Children come after their parents in this order, and have to go before them.
        for folder in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
            _remove(folder, deadline)


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
