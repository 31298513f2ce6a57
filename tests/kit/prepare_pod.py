"""`python -m finetune_trainer prepare` in a process of its own, as in its pod, with a worker process on each core."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora import write_rows
from finetune_api.contract import Env
from finetune_api.snapshot import Snapshot
from pods import pod_environ

ENOUGH_BYTES = 2 << 20
"""Of raw data, for two processes."""


def write_large_rows(folder: Path, *, files: int = 3) -> None:
    """Few rows, and too long to be looked at closely; all of them together are ENOUGH_BYTES."""
    dice = random.Random(5)
    share = ENOUGH_BYTES // files // 20
    for number in range(files):
        rows = [
            {"prompt": f"Name {number}.{row}", "completion": dice.randbytes(8).hex(), "note": "x" * share}
            for row in range(20)
        ]
        write_rows(folder / f"{number}.jsonl", [*rows, b"{"])


@dataclass(frozen=True)
class PreparePod:
    """One attempt's pod; its files lie in `folder`."""

    folder: Path
    snapshot: Snapshot
    environ: Mapping[str, str]
    """Of the store."""
    node: int = 0
    cores: int = 2

    @property
    def scratch(self) -> Path:
        return self.folder / f"pod-{self.node}" / "scratch"

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Killed at the end if it still runs."""
        environ = pod_environ(self.folder, self.snapshot, node=self.node)
        path = os.pathsep.join(path for path in sys.path if path)
        with subprocess.Popen(
            [sys.executable, "-m", "finetune_trainer", "prepare"],
            env={**environ, **self.environ, Env.CORES: str(self.cores), Env.PROGRESS_PORT: "0", "PYTHONPATH": path},
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    def run(self) -> dict[str, Any]:
        """What it says at its end, once it has succeeded."""
        with self.started() as process:
            _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
        result: dict[str, Any] = json.loads((self.folder / f"pod-{self.node}" / "result.json").read_bytes())
        return result
