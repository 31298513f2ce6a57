"""`finetune run` with the stand-in for the trainer."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs import make_body
from local_command import call_command, start_command


@dataclass(frozen=True)
class LocalRun:
    """One job's manifest, and everything that belongs to it, in one folder."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "home" / "output"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, **spec: Any) -> Path:
        """The manifest of a gang of two on the CPU; its output lies in the home folder, which it calls `~`."""
        fields = {"output": {"uri": "file://~/output"}, "workers": {"nodes": 2}, **spec}
        body = make_body(**fields) | {"metadata": {"name": "docstrings"}}
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(body))
        return path

    def start(self, manifest: Path, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """In a process of its own."""
        return start_command("run", manifest, home=self._home(), environ=_quick(environ), state=self.state)

    def run(self, manifest: Path, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
        """In this process: exit status and all that it said."""
        return call_command("run", manifest, home=self._home(), environ=_quick(environ), state=self.state)

    def _home(self) -> Path:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return home

    def logs(self, stage: str, rank: int) -> list[str]:
        """What the pods of one rank wrote, in order."""
        logs = sorted(self.state.glob(f"*/logs/*-{stage}-*-{rank}-*.log"), key=lambda path: path.stat().st_mtime)
        return [log.read_text() for log in logs]

    def processes(self) -> list[int]:
        """Everything on this machine that runs in this folder's name and is not the command itself."""
        return processes_under(self.state)


def _quick(environ: Mapping[str, str] | None) -> dict[str, str]:
    return {"STAND_IN_STEPS": "3", "STAND_IN_SECONDS": "0.1", **(environ or {})}


def processes_under(folder: Path) -> list[int]:
    """Running processes whose environment names something in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = f"{folder}/".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
        if inside and (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(int(process.name))
    return found
