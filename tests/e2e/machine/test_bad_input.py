"""What is wrong with a job's input is told by `finetune` in words that name the field to change, and nothing trains."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from bad_input import CASES, Case, Refused
from local_runs import COMMAND, TinyRun


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_told_with_the_field_to_change(case: Case, bad_input: Mapping[str, Future[Refused]]) -> None:
    job = bad_input[case.name].result()

    assert job.status == 1, job.said
    assert case.says in next(line for line in job.lines if line.startswith("Failed "))
    assert f"Change {case.field}" in job.lines
    begin = next((number for number, line in enumerate(job.lines) if line.startswith("Places ")), 0)
    assert tuple(line.removeprefix("Places ") for line in job.lines[begin:][: len(case.places)]) == case.places
    assert "Traceback" not in job.said
    assert not job.run.logs("train", 0)
    assert job.run.processes() == []


def test_a_name_that_is_too_long_is_told_with_its_line(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, tmp_path)
    manifest = run.write()
    manifest.write_text(manifest.read_text().replace("name: docstrings", f"name: {'x' * 41}"))

    ended = subprocess.run(
        [COMMAND, "validate", manifest], capture_output=True, text=True, timeout=60, check=False, env=run.environ()
    )

    line = 1 + manifest.read_text().splitlines().index(f"  name: {'x' * 41}")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"{manifest}:{line}: metadata.name: ")
    assert "40" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
