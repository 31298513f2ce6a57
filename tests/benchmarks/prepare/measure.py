"""A command's wall time, CPU time and peak memory, those of all processes that it starts included."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_INTERVAL: Final = 0.2
_TICKS: Final = os.sysconf("SC_CLK_TCK")


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
    usage = _Usage()
    done = threading.Event()
    start = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors)
        watcher = threading.Thread(target=_watch, args=(process.pid, usage, done))
        watcher.start()
        try:
            assert process.stdout is not None
            output = process.stdout.read().decode()
            _, status, reaped = os.wait4(process.pid, 0)
        finally:
            done.set()
            watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}\n{log.read_text(errors='replace')[-3000:]}")
    # Whoever was waited for by a parent that was not is in the second sum only, and the last moments in the first.
    cpu_seconds = max(reaped.ru_utime + reaped.ru_stime, sum(usage.cpu_seconds.values()))
    return Cost(time.monotonic() - start, cpu_seconds, usage.peak_bytes, output)


@dataclass
class _Usage:
    """What is seen from outside while the processes run."""

    peak_bytes: int = 0
    cpu_seconds: dict[int, float] = field(default_factory=dict)
    """Of each process, when it was last seen."""


def _watch(pid: int, usage: _Usage, done: threading.Event) -> None:
    while not done.wait(_INTERVAL):
        tree = _tree(pid)
        usage.peak_bytes = max(usage.peak_bytes, sum(map(_memory, tree)))
        for process in tree:
            usage.cpu_seconds[process] = max(usage.cpu_seconds.get(process, 0), _cpu(process))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def _cpu(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
