"""A store that never answers. Last of the modules that need no server: the job has waited while the others worked."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future

from bad_input import UNREACHABLE_STORE, Refused


def test_it_is_given_up_and_named(bad_input: Mapping[str, Future[Refused]]) -> None:
    job = bad_input[UNREACHABLE_STORE.name].result()

    assert job.status == 1, job.said
    assert UNREACHABLE_STORE.says in next(line for line in job.lines if line.startswith("Failed "))
    assert f"Change {UNREACHABLE_STORE.field}" in job.lines
    assert "Traceback" not in job.said
    assert job.run.processes() == []
