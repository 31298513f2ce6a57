"""What one job on this machine keeps between its runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetune_operator.cli.state import InUse, default_root, hold
from jobs import make_job


def test_the_same_name_and_output_are_the_same_owner_for_ever(tmp_path: Path) -> None:
    with hold(tmp_path, make_job()) as first:
        pass
    with hold(tmp_path, make_job(training={"epochs": 7})) as second:
        assert second == first


@pytest.mark.parametrize("other", [make_job("other"), make_job(output={"uri": "s3://elsewhere/triage"})])
def test_another_name_or_output_is_another_owner(tmp_path: Path, other: object) -> None:
    with hold(tmp_path, make_job()) as first, hold(tmp_path, other) as second:  # type: ignore[arg-type]
        assert first.uid != second.uid
        assert first.folder != second.folder


def test_one_process_at_a_time_holds_it(tmp_path: Path) -> None:
    with (
        hold(tmp_path, make_job()),
        pytest.raises(InUse, match=f"triage is run by process {os.getpid()} already"),
        hold(tmp_path, make_job()),
    ):
        pass


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), hold(tmp_path, make_job()):
        raise ValueError("broken")
    with hold(tmp_path, make_job()) as held:
        assert held.folder.parent == tmp_path


def test_the_default_place_is_the_users_cache() -> None:
    assert default_root({"HOME": "/home/me"}) == Path("/home/me/.cache/finetune-operator/runs")
    assert default_root({"HOME": "/home/me", "XDG_CACHE_HOME": "/c"}) == Path("/c/finetune-operator/runs")
