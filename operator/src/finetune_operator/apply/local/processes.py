"""Processes of earlier pods: recorded by (pid, start time), found again, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Session:
    """One pod's session. A pid alone may belong to somebody else by now."""

    pid: int
    """Of its leader, the shim; also the session's id."""
    started: int
    """Clock ticks since boot."""
    boot: str
    """Which boot that was."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True, kw_only=True)
class _Process:
    pid: int
    session: int
    started: int
    is_zombie: bool


def session_of(pid: int) -> Session | None:
    """None when the process is gone, or the system has no /proc."""
    process = _read(_PROC / str(pid))
    return None if process is None else Session(pid=pid, started=process.started, boot=_boot())


def end(session: Session) -> None:
    """SIGKILL every process of this session, its leader first or long gone; returns when none is left.

    The kernel gives a pid to nobody else as long as a session bears it, so a leader with another start time means
    that the session is over.
    """
    if session.boot != _boot():
        return
    while members := _members(session):
        for process in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)


def end_leftovers(records: list[Path], below: Callable[[int], list[int]]) -> int:
    """End what recorded sessions left running, processes `below` a leader included; how many sessions there were."""
    ended = 0
    for record in records:
        # A record half written when its writer was killed belongs to a shim that has seen its owner die.
        with contextlib.suppress(ValueError, TypeError):
            session = Session(**json.loads(record.read_text()))
            if session.boot == _boot() and _members(session):
                ended += 1
                for pid in below(session.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                end(session)
    return ended


def _members(session: Session) -> list[_Process]:
    leader = _read(_PROC / str(session.pid))
    if leader is not None and leader.started != session.started:
        return []
    found = (_read(folder) for folder in _PROC.glob("[0-9]*"))
    return [process for process in found if process and process.session == session.pid and not process.is_zombie]


def _read(folder: Path) -> _Process | None:
    try:
        # The name, in parentheses, may hold blanks and parentheses; field 3, the state, follows it.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Process(pid=int(folder.name), session=int(fields[3]), started=int(fields[19]), is_zombie=fields[0] in "ZX")


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
