"""`finetune prepare` with the stand-in for the trainer."""

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
class LocalPreparation:
    """One job's manifest, and the folder that its data goes to."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write(self, **spec: Any) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(make_body(**spec) | {"metadata": {"name": "docstrings"}}))
        return path

    def start(self, environ: Mapping[str, str] | None = None, *, out: Path | None = None) -> subprocess.Popen[str]:
        """In a process of its own."""
        manifest = self.folder / "job.yaml"
        return start_command("prepare", manifest, home=self.folder, environ=environ or {}, out=out or self.out)

    def run(self, environ: Mapping[str, str] | None = None, *, out: Path | None = None) -> tuple[int, str]:
        """In this process: exit status and all that it said."""
        manifest = self.folder / "job.yaml"
        return call_command("prepare", manifest, home=self.folder, environ=environ or {}, out=out or self.out)
