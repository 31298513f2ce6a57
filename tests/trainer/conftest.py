"""Fixtures of the trainer's tests."""

import os
from collections.abc import Iterator

import pytest

from preloaded import Preloaded


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    """One for all workers of a run, whose folders lie beside each other."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    found = Preloaded(tmp_path_factory.mktemp("ranks"), shared / "preloaded")
    try:
        yield found
    finally:
        found.stop()
