"""Room on the scratch volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.room import need_room
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
