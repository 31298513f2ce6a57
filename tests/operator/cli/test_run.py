"""`finetune run`: what a person sees, and that nothing is left behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_cli import LocalRun

SLOW = {"STAND_IN_STEPS": "1000", "STAND_IN_SECONDS": "0.05"}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen within a minute"
        time.sleep(0.05)


@pytest.fixture
def local_run(tmp_path: Path) -> Iterator[LocalRun]:
    run = LocalRun(tmp_path)
    yield run
    for pid in run.processes():
        os.kill(pid, signal.SIGKILL)


def training(run: LocalRun, environ: dict[str, str]) -> subprocess.Popen[str]:
    """A run whose gang has done a few steps."""
    process = run.start(run.write(), environ)
    checkpoint = run.output / "checkpoint"
    wait_until(lambda: process.poll() is not None or (checkpoint.exists() and int(checkpoint.read_text()) > 2))
    assert process.poll() is None, process.communicate()[0]
    return process


def lines(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


def test_a_run_ends_with_rows_losses_answers_and_where_everything_lies(local_run: LocalRun) -> None:
    status, said = local_run.run(local_run.write())
    assert status == 0
    told = lines(said)
    begin = next(number for number, line in enumerate(told) if re.fullmatch(r"Finished in \d:\d\d", line))
    run = f"{local_run.output}/runs/0123456789abcdef"
    answers = ["expected yes", "before maybe", "after yes!", ""]
    assert told[begin + 1 :] == [
        "Rows 1,000 rows in: 30 cleaned, 10 rejected, 20 removed → 790 train, 90 validation, 90 test",
        "Test loss 4.000 before, 3.000 after (nats per answer token)",
        "",
        *("Test row 1 question 0", *answers),
        *("Test row 2 question 1", *answers),
        *("Test row 3 question 2", *answers),
        f"Model {run}/model",
        f"Report {run}/reports/report.html",
    ]
    assert local_run.processes() == []


@pytest.mark.parametrize("stage", ["Prepare", "Train"])
def test_a_refusal_says_what_to_change_and_where_the_output_lies(local_run: LocalRun, stage: str) -> None:
    status, said = local_run.run(local_run.write(), {"STAND_IN_FAIL": stage})
    assert status == 1
    told = lines(said)
    end = told[told.index("Failed No row is left. (NoRows)") :]
    assert end[:-1] == [
        "Failed No row is left. (NoRows)",
        "Change spec.data.sources",
        "Places raw.jsonl:7",
        "raw.jsonl:9",
    ]
    logs = {f"Log {path}" for path in local_run.state.glob(f"*/logs/*-{stage.lower()}-1-*.log")}
    assert end[-1] in logs
    assert "Traceback" not in said


def test_a_gang_without_memory_comes_back_with_half_until_it_fits(local_run: LocalRun) -> None:
    unforgiving = local_run.write(restart={"maxRestarts": 0})
    status, said = local_run.run(unforgiving, {"STAND_IN_FITS": "2"})
    assert status == 0, said
    assert len(local_run.logs("train", 0)) == 3


def test_what_does_not_fit_row_by_row_ends_the_job_with_the_field_to_change(local_run: LocalRun) -> None:
    status, said = local_run.run(local_run.write(), {"STAND_IN_FITS": "0"})
    assert status == 1
    assert lines(said)[-3:-1] == ["Failed 1 rows do not fit (GpuOutOfMemory)", "Change spec.memory"]
    assert len(local_run.logs("train", 0)) == 4


def test_ctrl_c_ends_every_process_and_the_next_run_goes_on_from_the_last_checkpoint(local_run: LocalRun) -> None:
    process = training(local_run, {**SLOW, "STAND_IN_STRAY": "true"})
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert f"`finetune run {local_run.folder / 'job.yaml'}` goes on from the last checkpoint." in said
    assert local_run.processes() == []

    reached = int((local_run.output / "checkpoint").read_text())
    status, _ = local_run.run(local_run.write(), {"STAND_IN_STEPS": str(reached + 2)})
    assert status == 0
    assert local_run.logs("train", 0) == ["rank 0 starts at step 0\n", f"rank 0 starts at step {reached}\n"]


def test_a_second_ctrl_c_waits_for_nobody(local_run: LocalRun) -> None:
    process = training(local_run, {**SLOW, "STAND_IN_DEAF": "true"})
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    while "stopping;" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=25)  # the grace that the first one gives is 30 s
    assert process.returncode == 128 + signal.SIGINT
    assert "stopping at once" in said
    assert local_run.processes() == []


def test_a_killed_run_leaves_no_process(local_run: LocalRun) -> None:
    process = training(local_run, {**SLOW, "STAND_IN_STRAY": "true"})
    assert len(local_run.processes()) >= 6  # for each rank a shim, itself, and the stray
    process.kill()
    process.communicate()
    wait_until(lambda: local_run.processes() == [])


def test_what_outlived_a_killed_run_and_its_shims_is_ended_by_the_next(local_run: LocalRun) -> None:
    process = training(local_run, {**SLOW, "STAND_IN_DEAF": "true"})
    workers = local_run.processes()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # so that no shim sees its owner die
    process.kill()
    process.communicate()
    assert set(local_run.processes()) == set(workers)
    status, said = local_run.run(local_run.write(), {"STAND_IN_STEPS": "1"})
    assert status == 0
    assert "ended what an earlier run had left running (2 pods)" in said
    assert local_run.processes() == []


def test_a_job_is_run_by_one_process_at_a_time(local_run: LocalRun) -> None:
    first = training(local_run, SLOW)
    status, said = local_run.run(local_run.write())
    assert (status, lines(said)) == (
        1,
        [f"{local_run.folder / 'job.yaml'}: docstrings is run by process {first.pid} already"],
    )
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM


def test_what_can_never_run_on_this_machine_is_refused_before_anything_starts(local_run: LocalRun) -> None:
    manifest = local_run.write(workers={"nodes": 2, "gpusPerNode": 8}, suspend=True)
    status, said = local_run.run(manifest, {"CUDA_VISIBLE_DEVICES": "0"})
    assert status == 1
    too_many = (
        "2 nodes of 8 GPUs are asked for and this machine has 1; lower nodes or gpusPerNode (0 trains on the CPU)"
    )
    assert lines(said) == [
        f"{manifest}: spec.suspend: must be false, or the job never starts",
        f"{manifest}: spec.workers: {too_many}",
    ]
    assert not local_run.state.exists()


def test_a_manifest_that_is_not_there_is_one_line(local_run: LocalRun) -> None:
    status, said = local_run.run(local_run.folder / "absent.yaml")
    assert status == 1
    (line,) = lines(said)
    assert line.startswith(f"{local_run.folder / 'absent.yaml'}")
