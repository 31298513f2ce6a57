"""Fixtures of the trainer's tests."""

from collections.abc import Iterator

import pytest

from preloaded import Preloaded


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preloaded]:
    process = Preloaded(tmp_path_factory.mktemp("ranks"))
    try:
        yield process
    finally:
        process.stop()
