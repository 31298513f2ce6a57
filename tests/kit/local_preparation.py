"""`finetune prepare` in a process of its own, with the stand-in for the trainer."""

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
_PREPARE = """
import os, sys
from pathlib import Path
from finetune_operator.cli.prepare import prepare
sys.exit(prepare(Path(sys.argv[1]), out=Path(sys.argv[2]), environ=dict(os.environ), python=sys.argv[3]))
"""


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
        python = self.folder / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{_STAND_IN}" "$@"\n')
        python.chmod(0o755)
        manifest = self.folder / "job.yaml"
        return subprocess.Popen(
            [sys.executable, "-c", _PREPARE, str(manifest), str(out or self.out), str(python)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "HOME": str(self.folder), "COLUMNS": "500", **(environ or {})},
            start_new_session=True,
        )

    def run(self, environ: Mapping[str, str] | None = None, *, out: Path | None = None) -> tuple[int, str]:
        """Exit status and all that it said."""
        with self.start(environ, out=out) as process:
            said, _ = process.communicate(timeout=60)
        return process.returncode, said
