"""The one uninterrupted run that the tests of the whole path compare with, and jobs of their own beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bad_input import CASES, UNREACHABLE_STORE, Refused, carry_out
from local_runs import Succeeded, TinyRun, make_materials, stopped_at_the_end


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and raw rows."""
    return make_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="session")
def uninterrupted(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Succeeded]:
    """Trained from the first step to the last in one go. Whoever uses it leaves what it has published as it is."""
    with stopped_at_the_end(TinyRun(tmp_path_factory.mktemp("uninterrupted"), materials)) as run:
        manifest = run.write()
        status, said = run.run(manifest)
        assert status == 0, said
        yield Succeeded(run, manifest, said)


@pytest.fixture
def tiny_run(materials: Path, tmp_path: Path) -> Iterator[TinyRun]:
    """A job of its own over the same model and rows."""
    with stopped_at_the_end(TinyRun(tmp_path, materials)) as run:
        yield run


@pytest.fixture(scope="session")
def bad_input(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Refused]]]:
    """Each case by its name. All are carried out beside the tests, the one that has to wait first."""
    with ThreadPoolExecutor(3) as threads:
        yield {
            case.name: threads.submit(carry_out, case, tmp_path_factory.mktemp("bad"))
            for case in (UNREACHABLE_STORE, *CASES)
        }
        threads.shutdown(cancel_futures=True)
