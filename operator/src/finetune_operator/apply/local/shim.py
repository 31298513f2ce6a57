"""Parent of one pod's processes: passes signals on, and leaves none of them behind when the pod or its owner ends.

Run as a file by a bare interpreter, so it imports the standard library only: `python -I -S shim.py COMMAND...`.
SIGTERM is passed on to the command, STOP_NOW kills it. Standard input is a pipe that the owner holds open and never
writes to: its end is the owner's death.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_NOW = signal.SIGUSR1
CANNOT_START = 128
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_OWNER_DIED_GRACE = 10.0


def descendants(pid: int) -> list[int]:
    """All processes below this one, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # After the name, which is in parentheses and may hold anything, come the state and the parent.
        with contextlib.suppress(OSError):
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def end_all(group: int) -> None:
    """SIGKILL everything below this process, until nothing is left.

    As the subreaper this process becomes the parent of every orphan below it, so one that has left the group and even
    the session is found too.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while _LINUX and (alive := descendants(os.getpid())):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def run(argv: list[str]) -> int:
    """The exit code of the command as a kubelet reports it: 128 + n for signal n."""
    libc = ctypes.CDLL(None)
    if _LINUX:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGCHLD, signal.SIGTERM, STOP_NOW):
        signal.signal(number, lambda *_: None)

    def die_with_shim() -> None:
        if _LINUX:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        command = subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=die_with_shim)
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error}\n")
        return CANNOT_START
    _wait(command, woken)
    end_all(command.pid)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _wait(command: subprocess.Popen[bytes], woken: int) -> None:
    owner = sys.stdin.fileno()
    watched = [woken, owner]
    deadline: float | None = None
    while command.poll() is None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = select.select(watched, [], [], timeout)[0]
        signals = os.read(woken, 64) if woken in ready else b""
        if owner in ready:
            watched.remove(owner)
            deadline = time.monotonic() + _OWNER_DIED_GRACE
        if owner in ready or signal.SIGTERM in signals:
            command.terminate()
        if STOP_NOW in signals or (deadline is not None and time.monotonic() >= deadline):
            command.kill()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
