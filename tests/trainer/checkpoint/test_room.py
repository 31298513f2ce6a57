"""Room on the scratch volume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.room import need_room, need_room_together
from finetune_trainer.failures import StageFailed


def test_a_folder_with_room_is_made(tmp_path: Path) -> None:
    need_room(tmp_path / "new", 1)

    assert (tmp_path / "new").is_dir()


def test_too_little_room_names_the_field_and_may_be_retried(tmp_path: Path) -> None:
    with pytest.raises(
        StageFailed, match="1,000,000,000,000,000,000 bytes are needed on the scratch volume"
    ) as failure:
        need_room(tmp_path, 10**18)

    assert failure.value.exit_code == ExitCode.RETRY
    assert failure.value.failure.field == "spec.workers.resources.scratch"


class Pair:
    """As much of a Gang as is asked: its other rank wants as much, on this volume or one of another machine."""

    def __init__(self, elsewhere: str = "") -> None:
        self._elsewhere = elsewhere

    def gather(self, value: list[Any]) -> list[list[Any]]:
        volume, size = value
        return [value, [volume + self._elsewhere, size]]


def test_ranks_that_share_a_volume_need_room_for_what_they_write_together(tmp_path: Path) -> None:
    most = shutil.disk_usage(tmp_path).free * 3 // 4
    alone: Any = Pair(elsewhere=" of another machine")
    need_room_together(alone, tmp_path, most)

    pair: Any = Pair()
    with pytest.raises(StageFailed, match=f"{2 * most:,} bytes are needed"):
        need_room_together(pair, tmp_path, most)
