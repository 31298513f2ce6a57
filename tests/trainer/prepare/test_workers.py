"""Calls in other processes come back in order, whole, or as the error that they raised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import worker_calls
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.workers import WorkerDied, Workers


def ignore(_amount: int) -> None:
    pass


def is_gone(pid: int) -> bool:
    """Ended, though perhaps not yet buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("ahead", [None, 0, 2])
def test_results_come_in_the_order_of_tasks_and_all_that_is_told_is_heard(processes: int, ahead: int | None) -> None:
    heard: list[int] = []
    with Workers(processes) as workers:
        assert list(workers.map(worker_calls.double, range(8), told=heard.append, ahead=ahead)) == [*range(0, 16, 2)]
        assert sorted(heard) == [*range(8)]
        assert list(workers.map(worker_calls.double, [], told=ignore)) == []
        assert list(workers.map(worker_calls.large, range(5), told=ignore)) == [
            bytes([number]) * (1 << 22) for number in range(5)
        ]


@pytest.mark.parametrize("processes", [1, 3])
def test_of_several_errors_that_of_the_first_task_is_raised(processes: int) -> None:
    with Workers(processes) as workers, pytest.raises(StageFailed) as failed:
        list(workers.map(worker_calls.fail_where_negative, [0, -1, -2, -3, 4, 5], told=ignore))
    assert failed.value.failure.message == "-1 is bad"


def test_errors_cross_the_border_as_they_are() -> None:
    for number, error in enumerate(worker_calls.ERRORS):
        with Workers(2) as workers, pytest.raises(type(error)) as raised:
            list(workers.map(worker_calls.raise_error, [number], told=ignore))
        assert type(raised.value) is type(error)
        assert str(raised.value) == str(error)
        if isinstance(error, StageFailed) and isinstance(raised.value, StageFailed):
            assert (raised.value.exit_code, raised.value.failure) == (error.exit_code, error.failure)
        if isinstance(error, OSError) and isinstance(raised.value, OSError):
            assert raised.value.errno == error.errno


def test_an_error_that_cannot_be_sent_is_told_in_words_with_its_trace() -> None:
    with Workers(2) as workers, pytest.raises(RuntimeError, match="Unsendable: this and that") as raised:
        list(workers.map(worker_calls.raise_unsendable, [0], told=ignore))
    assert "raise_unsendable" in "".join(raised.value.__notes__)


@pytest.mark.parametrize(
    ("how", "words"),
    [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGSEGV, "was ended by SIGSEGV"), (-3, "ended with code 3")],
)
def test_a_worker_that_dies_is_noticed_and_its_task_named(how: int, words: str) -> None:
    with Workers(2) as workers, pytest.raises(WorkerDied, match=words) as died:
        list(workers.map(worker_calls.end_itself, [how], told=ignore))
    assert died.value.number == 0


def test_workers_that_are_no_longer_needed_are_gone(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(_pid: int) -> None:
        if len(list(tmp_path.iterdir())) == 2:
            raise Enough

    with pytest.raises(Enough), Workers(2) as workers:
        list(workers.map(worker_calls.write_pid, [tmp_path] * 3, told=stop))
    assert all(is_gone(int(path.name)) for path in tmp_path.iterdir())


def test_who_wants_no_more_results_can_go_on_with_another_call() -> None:
    with Workers(2) as workers:
        assert next(workers.map(worker_calls.double, [1, 2, 3], told=ignore)) == 2
        assert list(workers.map(worker_calls.large, [1], told=ignore)) == [b"\x01" * (1 << 22)]


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "import worker_calls\n"
        "from finetune_trainer.prepare.workers import Workers\n"
        "with Workers(2) as workers:\n"
        "    list(workers.map(worker_calls.write_pid, [Path(sys.argv[1])] * 2, told=print))\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], env=environ, stdout=subprocess.DEVNULL) as parent:
        try:
            until(lambda: len(list(tmp_path.iterdir())) == 2)
        finally:
            parent.kill()
    until(lambda: all(is_gone(int(path.name)) for path in tmp_path.iterdir()))


def test_a_signal_to_the_whole_group_is_left_to_the_parent() -> None:
    with Workers(2) as workers:
        assert list(workers.map(worker_calls.of_group, [0, 1], told=ignore)) == ["still there"] * 2
