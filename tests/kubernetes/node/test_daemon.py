"""A daemon outlives the command that starts it, and whoever knows its log finds it again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_client import eventually
from cluster_process import ProcessFailed
from node.daemon import Daemon, marked, sweep

KIT = Path(__file__).parents[2] / "kit"
STARTS_ONE = """
import sys
from pathlib import Path
from node.daemon import Daemon
Daemon("sleeper", ["sleep", "600"], Path(sys.argv[1])).start()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For logs; what is still running at the end is swept."""
    yield tmp_path
    sweep(tmp_path)


def test_it_outlives_its_starter_and_is_found_by_another(folder: Path) -> None:
    sleeper = Daemon("sleeper", ["sleep", "600"], folder / "log")
    assert not sleeper.running
    subprocess.run(
        [sys.executable, "-c", STARTS_ONE, str(sleeper.log)], env={**os.environ, "PYTHONPATH": str(KIT)}, check=True
    )
    assert sleeper.running
    sleeper.kill()
    assert not sleeper.running


def test_one_with_the_same_words_and_another_log_is_another(folder: Path) -> None:
    one, two = (Daemon("sleeper", ["sleep", "600"], folder / name) for name in ("one", "two"))
    one.start()
    assert not two.running
    two.start()
    assert one.pid != two.pid


def test_it_is_itself_and_not_what_it_was_started_behind(folder: Path) -> None:
    # As nsenter does with namespaces of processes, sh stays in front of what it starts.
    behind = Daemon("sleeper", ["sleep", "600"], folder / "log", via=["sh", "-c", '"$@"; true', "sh"])
    behind.start()
    assert Path(f"/proc/{behind.pid}/comm").read_text() == "sleep\n"


def test_a_sweep_takes_what_daemons_started_too_and_nothing_of_others(folder: Path) -> None:
    for name in ("ours", "others"):
        (folder / name).mkdir()
        Daemon("parent", ["sh", "-c", "sleep 600 & wait"], folder / name / "log").start()
    eventually(lambda: len(list(marked(folder))) == 4)
    sweep(folder / "ours")
    assert list(marked(folder / "ours")) == []
    assert len(list(marked(folder / "others"))) == 2


def test_one_that_ends_early_is_reported_with_its_last_words(folder: Path) -> None:
    failing = Daemon("failing", ["sh", "-c", "sleep 0.5; echo no such flag >&2; exit 3"], folder / "log")
    failing.start()
    with pytest.raises(ProcessFailed, match="no such flag"):
        failing.wait_until(lambda: False)
