"""A command of `finetune` with the stand-in for the trainer: called here, or started in a process of its own."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from finetune_operator.cli.prepare import prepare
from finetune_operator.cli.run import run

_COMMANDS = {"run": run, "prepare": prepare}
_STAND_IN = Path(__file__).with_name("stand_in_trainer.py")
_COMMAND = """
import os, sys
from pathlib import Path
from finetune_operator.cli.{verb} import {verb}
sys.exit({verb}(Path(sys.argv[1]), {place}=Path(sys.argv[2]), environ=dict(os.environ), python=sys.argv[3]))
"""


def stand_in_python(folder: Path) -> Path:
    """An interpreter that runs the stand-in, whatever it is asked to run."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{_STAND_IN}" "$@"\n')
    python.chmod(0o755)
    return python


def call_command(
    verb: str, manifest: Path, *, home: Path, environ: Mapping[str, str], **place: Path
) -> tuple[int, str]:
    """Exit status and all that it said. `place` is the argument that says where the command keeps what it makes."""
    python, said = stand_in_python(manifest.parent), io.StringIO()
    with (
        patch.dict(os.environ, _environ(home, environ)),
        redirect_stdout(said),
        redirect_stderr(said),
        _own_log(),
    ):
        status = _COMMANDS[verb](manifest, environ=dict(os.environ), python=str(python), **place)
    return status, said.getvalue()


def start_command(
    verb: str, manifest: Path, *, home: Path, environ: Mapping[str, str], **place: Path
) -> subprocess.Popen[str]:
    """As call_command, for signals and sudden ends: a second of imports more."""
    python = stand_in_python(manifest.parent)
    ((name, folder),) = place.items()
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND.format(verb=verb, place=name), str(manifest), str(folder), str(python)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **_environ(home, environ)},
        start_new_session=True,
    )


def _environ(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    return {"HOME": str(home), "COLUMNS": "500", **environ}


@contextmanager
def _own_log() -> Iterator[None]:
    """What the command logs goes where it says, and no longer when it has ended."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(before):
            handler.close()
        root.handlers[:] = before
