"""Sorting what lies on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune_trainer.prepare.barrier.partitions import ENTRIES, Partitions
from finetune_trainer.prepare.words import mixed

ENTRY = np.dtype([("key", "<u8"), ("number", "<u4")])


@pytest.mark.parametrize("files", [1, 7])
def test_equal_keys_come_back_together_in_the_order_in_which_they_were_added(tmp_path: Path, files: int) -> None:
    rng = np.random.default_rng(0)
    entries = np.zeros(10_000, dtype=ENTRY)
    entries["key"] = rng.integers(0, 500, len(entries))
    entries["number"] = np.arange(len(entries))
    partitions = Partitions(tmp_path / "p", ENTRY, files * ENTRIES)
    for chunk in np.split(entries, 4):
        partitions.add(mixed(chunk["key"]), chunk)
    parts = list(partitions.read())
    assert len(parts) == files
    keys = [set(part["key"].tolist()) for part in parts]
    assert sum(map(len, keys)) == 500
    assert all((np.diff(part["number"].astype(int)) > 0).all() for part in parts)
    assert np.sort(np.concatenate(parts)["number"]).tolist() == list(range(10_000))
    partitions.remove()
    assert list((tmp_path / "p").iterdir()) == []
