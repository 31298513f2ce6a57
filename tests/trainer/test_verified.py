"""Damage of every kind to a stored shard, none of which may go unnoticed."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.storage import StoredObject
from finetune_trainer.verified import Damaged, download_verified
from memory_storage import MemoryStorage

URI = "s3://bucket/rank-0"
CONTENT = random.Random(0).randbytes(2_000)


def fetch(storage: MemoryStorage, path: Path) -> bytes:
    download_verified(storage, URI, path, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    return path.read_bytes()


def stored(content: bytes) -> MemoryStorage:
    storage = MemoryStorage()
    storage.write(URI, content)
    return storage


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert fetch(stored(CONTENT), tmp_path / "x") == CONTENT


def test_a_thousand_flipped_bits_are_noticed(tmp_path: Path) -> None:
    dice = random.Random(1)
    for _ in range(1000):
        damaged = bytearray(CONTENT)
        damaged[dice.randrange(len(CONTENT))] ^= 1 << dice.randrange(8)
        with pytest.raises(Damaged, match="rank-0 is not what was written there"):
            fetch(stored(bytes(damaged)), tmp_path / "x")


@pytest.mark.parametrize("eighths", range(8))
def test_a_truncated_shard_is_noticed(tmp_path: Path, eighths: int) -> None:
    with pytest.raises(Damaged, match="is not what was written there"):
        fetch(stored(CONTENT[: len(CONTENT) * eighths // 8]), tmp_path / "x")


def test_a_longer_a_missing_and_a_foreign_shard_are_noticed(tmp_path: Path) -> None:
    for storage in (stored(CONTENT + b"\0"), stored(CONTENT[::-1]), MemoryStorage()):
        with pytest.raises(Damaged):
            fetch(storage, tmp_path / "x")


def test_damage_on_the_wire_is_read_again(tmp_path: Path) -> None:
    class Flaky(MemoryStorage):
        reads = 0

        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            stored = super().download(uri, path, **told)
            self.reads += 1
            if self.reads == 1:
                path.write_bytes(b"garbled")
            return stored

    storage = Flaky()
    storage.write(URI, CONTENT)

    assert fetch(storage, tmp_path / "x") == CONTENT
