"""Splits of before, by what stands in rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finetune_trainer.prepare.barrier.assignment import ASSIGNMENT_FILE, Assignment, read_assignment, write_assignment
from finetune_trainer.prepare.barrier.split import NOWHERE


def keys(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def splits(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int8)


def test_rows_are_found_again_after_writing_and_reading(tmp_path: Path) -> None:
    write_assignment(tmp_path, Assignment.of(keys(30, 10, 2**64 - 1, 10), splits(1, 2, 0, 1)))
    found = read_assignment(tmp_path / ASSIGNMENT_FILE)
    assert found.find(keys(2**64 - 1, 10, 5, 30, 31)).tolist() == [0, 2, NOWHERE, 1, NOWHERE]
    assert found.moved(keys(10, 30, 31), splits(2, 0, 0)) == 1


def test_of_nothing_nothing_is_found(tmp_path: Path) -> None:
    write_assignment(tmp_path, Assignment.of(keys(), splits()))
    assert read_assignment(tmp_path / ASSIGNMENT_FILE).find(keys(1)).tolist() == [NOWHERE]


def test_the_same_rows_in_another_order_are_the_same_bytes(tmp_path: Path) -> None:
    for name, order in [("a", [0, 1, 2]), ("b", [2, 0, 1])]:
        (tmp_path / name).mkdir()
        write_assignment(tmp_path / name, Assignment.of(keys(7, 8, 9)[order], splits(0, 1, 2)[order]))
    assert (tmp_path / "a" / ASSIGNMENT_FILE).read_bytes() == (tmp_path / "b" / ASSIGNMENT_FILE).read_bytes()
