"""How much memory reading takes where a file is made to take all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import hostile_files
from hostile_files import CARELESS, FILES, MIB, Hostile

MOST_BYTES = 160 * MIB
"""Beside what the process holds anyway: ten times the longest row."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each file read in a process of its own, of which the kernel says what it held at most."""
    scratch = tmp_path_factory.mktemp("scratch")
    done = subprocess.run(
        [sys.executable, hostile_files.__file__, str(scratch)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    assert list(scratch.iterdir()) == []
    return {found["about"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.about)
def test_a_hostile_file_ends_in_words_and_not_in_memory(file: Hostile, measured: dict[str, dict[str, Any]]) -> None:
    found = measured[file.about]
    assert file.ends in found["end"]
    assert found["grown_by"] < MOST_BYTES


def test_a_file_that_is_held_whole_would_be_noticed(measured: dict[str, dict[str, Any]]) -> None:
    found = measured[CARELESS.about]
    assert found["end"] == CARELESS.ends
    assert found["grown_by"] > MOST_BYTES
