"""Packed files: whole, in several members, damaged, and bombs."""

from __future__ import annotations

import gzip
import io

import pytest

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import RawRow
from finetune_trainer.prepare.read.compression import BLOCK_BYTES, MAX_RATIO, UNSUSPECTED_BYTES
from raw_files import rows_of, zstd

PACKERS = {"gz": gzip.compress, "zst": zstd}


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_rows_are_those_that_were_packed(ending: str) -> None:
    pack = PACKERS[ending]
    lines = [b'{"a": %d}\n' % number for number in range(1000)]
    rows = [RawRow(number + 1, {"a": number}) for number in range(1000)]
    assert rows_of(pack(b"".join(lines)), f"x.jsonl.{ending}") == rows
    assert rows_of(pack(b"".join(lines[:10])) + pack(b"".join(lines[10:])), f"x.jsonl.{ending}") == rows
    assert rows_of(b"", f"x.jsonl.{ending}") == []


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("harm", ["cut", "flip", "behind", "plain"])
def test_damage_is_told(ending: str, harm: str) -> None:
    content = b"".join(b'{"a": %d}\n' % (number * 7919 % 10007) for number in range(20_000))
    packed = PACKERS[ending](content)
    # zstd keeps no checksum unless asked to: what is flipped is the frame's own header.
    at = len(packed) - 6 if ending == "gz" else 4
    damaged = {
        "cut": packed[: len(packed) // 2],
        "flip": packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :],
        "behind": packed + b"something else",
        "plain": content,
    }[harm]
    with pytest.raises(StageFailed, match=rf"x\.jsonl\.{ending} is damaged after row \d+: ") as failed:
        rows_of(damaged, f"x.jsonl.{ending}")
    assert failed.value.failure.reason == "DataCorrupt"


@pytest.mark.parametrize("ending", PACKERS)
def test_a_bomb_ends_after_the_first_unsuspected_bytes(ending: str) -> None:
    """Of lines as long as a block, eight times what nobody asks about."""

    class Watched(io.BytesIO):
        num_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(size)
            self.num_bytes += len(content)
            return content

    member = PACKERS[ending](b" " * (BLOCK_BYTES - 1) + b"\n")
    bomb = Watched(member * (8 * UNSUSPECTED_BYTES // BLOCK_BYTES))
    assert MAX_RATIO * len(member) < BLOCK_BYTES
    with pytest.raises(StageFailed, match=r"bytes of (gzip|zstd) become more than 6. MiB; .* store the file unpacked"):
        rows_of(bomb, f"x.jsonl.{ending}")
