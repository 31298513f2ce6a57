"""A command of `finetune` in a process of its own, with the stand-in for the trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_STAND_IN = Path(__file__).with_name("stand_in_trainer.py")
_COMMAND = """
import os, sys
from pathlib import Path
from finetune_operator.cli.{verb} import {verb}
sys.exit({verb}(Path(sys.argv[1]), {place}=Path(sys.argv[2]), environ=dict(os.environ), python=sys.argv[3]))
"""


def start_command(
    verb: str, manifest: Path, *, home: Path, environ: Mapping[str, str], **place: Path
) -> subprocess.Popen[str]:
    """`place` is the argument that says where the command keeps what it makes."""
    python = manifest.with_name("python")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{_STAND_IN}" "$@"\n')
    python.chmod(0o755)
    ((name, folder),) = place.items()
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(verb=verb, place=name), str(manifest), str(folder), str(python)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(home), "COLUMNS": "500", **environ},
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and all that it said."""
    with process:
        said, _ = process.communicate(timeout=60)
    return process.returncode, said
