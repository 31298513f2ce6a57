"""Nothing that a test run starts outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_client import eventually
from cluster_process import Process, ProcessFailed

KIT = Path(__file__).parents[1] / "kit"

STARTS_A_SLEEPER_AND = """
import os, signal, sys
from pathlib import Path
from cluster_process import Process
sleeper = Process("sleeper", ["sleep", "600"], Path(sys.argv[1]))
sleeper.start()
print(sleeper.pid, flush=True)
"""


def _gone(pid: int) -> bool:
    """Ended; a zombie that nobody has waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(
    "ending", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('a bug')", "sys.exit(0)"]
)
def test_a_child_ends_with_the_run_however_that_ends(tmp_path: Path, ending: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", STARTS_A_SLEEPER_AND + ending, str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": str(KIT)},
        capture_output=True,
        text=True,
    )
    eventually(lambda: _gone(int(run.stdout)))


def test_a_grandchild_ends_with_its_group(tmp_path: Path) -> None:
    process = Process("parent", ["sh", "-c", "sleep 600 & echo $!; wait"], tmp_path / "log")
    process.start()
    process.wait_until(lambda: process.log_tail() != "")
    grandchild = int(process.log_tail())
    process.stop()
    eventually(lambda: _gone(grandchild))


def test_one_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    process = Process("deaf", ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], tmp_path / "log")
    process.start()
    process.wait_until(lambda: "up" in process.log_tail())
    process.stop(grace_seconds=0.2)
    assert process.exit_code == -signal.SIGKILL


def test_one_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    process = Process("failing", ["sh", "-c", "echo no such flag >&2; exit 3"], tmp_path / "log")
    process.start()
    with pytest.raises(ProcessFailed, match="failing ended with 3:\nno such flag"):
        process.wait_until(lambda: False)
