"""`finetune run` in a process of its own, with the stand-in for the trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs import make_body

_STAND_IN = Path(__file__).with_name("stand_in_trainer.py")
_RUN = """
import os, sys
from pathlib import Path
from finetune_operator.cli.run import run
sys.exit(run(Path(sys.argv[1]), state=Path(sys.argv[2]), environ=dict(os.environ), python=sys.argv[3]))
"""


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
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{_STAND_IN}" "$@"\n')
        python.chmod(0o755)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", _RUN, str(manifest), str(self.state), str(python)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "HOME": str(home),
                "COLUMNS": "500",
                "STAND_IN_STEPS": "3",
                "STAND_IN_SECONDS": "0.1",
                **(environ or {}),
            },
            start_new_session=True,
        )

    def run(self, manifest: Path, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit status and all that it said."""
        with self.start(manifest, environ) as process:
            said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def logs(self, stage: str, rank: int) -> list[str]:
        """What the pods of one rank wrote, in order."""
        logs = sorted(self.state.glob(f"*/logs/*-{stage}-*-{rank}-*.log"), key=lambda path: path.stat().st_mtime)
        return [log.read_text() for log in logs]

    def processes(self) -> list[int]:
        """Everything on this machine that runs in this folder's name and is not the command itself."""
        return processes_under(self.state)


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
