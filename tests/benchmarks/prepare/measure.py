"""A command's wall time, CPU time and peak memory, those of all processes that it starts included."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_INTERVAL: Final = 0.2


@dataclass(frozen=True)
class Cost:
    """Of a whole process tree."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Proportional set size: a page that several processes share counts once."""
    output: str


def run(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Cost:
    """Runs it to its end. Raises SystemExit with the end of `log`, where its errors go, when it fails."""
    peak = [0]
    done = threading.Event()
    start = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors)
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, done))
        watcher.start()
        try:
            assert process.stdout is not None
            output = process.stdout.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            done.set()
            watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}\n{log.read_text(errors='replace')[-3000:]}")
    return Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, peak[0], output)


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(_INTERVAL):
        peak[0] = max(peak[0], sum(map(_memory, _tree(pid))))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
