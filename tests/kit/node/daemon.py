"""Processes that outlive the command that starts them, and that any later command finds again in /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster_process import Process, ProcessFailed

MARK = "FINETUNE_TEST_DAEMON"
"""In the environment of every daemon, and of all that it starts: the path of its log."""


def marked(log: Path) -> Iterator[int]:
    """Every process that came from the daemon with this log, or from one whose log lies in this folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        mark = _mark(folder)
        if mark is not None and mark.is_relative_to(log):
            yield int(folder.name)


def _mark(process: Path) -> Path | None:
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    prefix = f"{MARK}=".encode()
    return next((Path(os.fsdecode(entry[len(prefix) :])) for entry in environment if entry.startswith(prefix)), None)


def sweep(logs: Path, timeout_seconds: float = 20.0) -> None:
    """Kill all that came from daemons with their logs in this folder; returns when nothing of it is left."""
    deadline = time.monotonic() + timeout_seconds
    while pids := list(marked(logs)):
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ProcessFailed(f"processes {pids} do not end")
        time.sleep(0.05)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@dataclass
class Daemon(Process):
    """`argv` as it stands in /proc, started behind the words of `via` (nsenter, unshare) if there are any."""

    via: Sequence[str] = ()

    def start(self) -> None:
        assert not self.running, f"{self.name} is already running"
        with self.log.open("ab") as log:
            # setsid leaves at once, and the daemon belongs to nobody.
            subprocess.run(
                ["setsid", "--fork", *self.via, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env, MARK: str(self.log)},
                check=True,
            )
        deadline = time.monotonic() + 5
        while not self.running:
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{self.name} does not start:\n{self.log_tail()}")
            time.sleep(0.01)

    @property
    def _found(self) -> int | None:
        words = "\0".join([*self.argv, ""]).encode()
        for pid in marked(self.log):
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes() == words:
                    return pid
            except (FileNotFoundError, ProcessLookupError):
                continue
        return None

    @property
    def running(self) -> bool:
        return self._found is not None

    @property
    def pid(self) -> int:
        pid = self._found
        if pid is None:
            raise ProcessFailed(f"{self.name} is not running")
        return pid

    @property
    def exit_code(self) -> int | None:
        return None

    def stop(self, grace_seconds: float = 5.0) -> None:
        deadline = time.monotonic() + grace_seconds
        while (pid := self._found) is not None and time.monotonic() < deadline:
            _signal(pid, signal.SIGTERM)
            time.sleep(0.05)
        self.kill()

    def kill(self) -> None:
        while (pid := self._found) is not None:
            _signal(pid, signal.SIGKILL)
            time.sleep(0.02)

    def _signal_group(self, number: int) -> None:
        _signal(self.pid, number)
