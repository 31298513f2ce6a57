"""What a killed preparation leaves is removed by the next; what one that runs has is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_trainer.prepare.scratch import work_folder


def test_the_folder_is_gone_at_the_end_also_of_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), work_folder(tmp_path) as folder:
        (folder / "spill").mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_only_folders_whose_owner_is_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "prepare-killed" / "spill").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with work_folder(tmp_path) as ours, work_folder(tmp_path) as theirs:
        assert {path.name for path in tmp_path.iterdir()} == {ours.name, theirs.name, "other"}
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
