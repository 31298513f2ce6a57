"""Where images are built and kept: a buildah store of our own, apart from the machine's."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OPTION = "overlay.skip_mount_home=true"
"""Else the storage's folder stays mounted upon itself."""


class CommandFailed(RuntimeError):
    """A program that builds or copies images ended with an error; carries what it said last."""


@dataclass(frozen=True)
class Store:
    folder: Path

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Store:
        cache = env.get("XDG_CACHE_HOME") or str(Path(env["HOME"]) / ".cache")
        return cls(Path(cache) / "finetune-operator" / "images")

    @property
    def _storage(self) -> Path:
        return self.folder / "storage"

    @property
    def _runtime(self) -> Path:
        return self.folder / "run"

    @property
    def _scratch(self) -> Path:
        return self.folder / "tmp"

    def buildah(self, *arguments: str) -> str:
        """Standard output. Raises CommandFailed."""
        places = (
            f"--root={self._storage}",
            f"--runroot={self._runtime}",
            "--storage-driver=overlay",
            f"--storage-opt={_OPTION}",
        )
        # chroot needs neither systemd nor user namespaces.
        return run("buildah", *places, *arguments, env={"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self._scratch)})

    def address(self, name: str) -> str:
        """As skopeo reads images of this store."""
        return f"containers-storage:[overlay@{self._storage}+{self._runtime}:{_OPTION}]{name}"

    def images(self) -> dict[str, tuple[str, ...]]:
        """Id of every image, of build steps too, and its names; the youngest first."""
        listed = json.loads(self.buildah("images", "--all", "--no-trunc", "--json"))
        return {image["id"].removeprefix("sha256:"): tuple(image["names"] or ()) for image in listed or ()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time: two would build the same layers side by side."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output. Raises CommandFailed."""
    done = subprocess.run(["nice", *command], env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if done.returncode != 0:
        raise CommandFailed(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-3000:]}")
    return done.stdout
