"""The one uninterrupted run that the tests of the whole path compare with, and jobs of their own beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_runs import Succeeded, TinyRun, make_materials


@contextmanager
def _stopped_at_the_end(run: TinyRun) -> Iterator[TinyRun]:
    try:
        yield run
    finally:
        for pid in run.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and raw rows."""
    return make_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="session")
def uninterrupted(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Succeeded]:
    """Trained from the first step to the last in one go. Whoever uses it leaves what it has published as it is."""
    with _stopped_at_the_end(TinyRun(tmp_path_factory.mktemp("uninterrupted"), materials)) as run:
        manifest = run.write()
        status, said = run.run(manifest)
        assert status == 0, said
        yield Succeeded(run, manifest, said)


@pytest.fixture
def tiny_run(materials: Path, tmp_path: Path) -> Iterator[TinyRun]:
    """A job of its own over the same model and rows."""
    with _stopped_at_the_end(TinyRun(tmp_path, materials)) as run:
        yield run
