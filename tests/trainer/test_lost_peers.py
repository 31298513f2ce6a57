"""Under ZeRO 3 every layer is gathered from all ranks: if one is gone or stands still, nobody waits for it for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_api.snapshot import Snapshot
from preloaded import Preloaded
from training_cases import Case, gang


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lost")


@pytest.fixture(scope="module")
def job(home: Path) -> Snapshot:
    return Case(3, "Full", "Classification").prepared(home)


def test_a_killed_rank_is_a_lost_peer_to_those_that_gather(preloaded: Preloaded, home: Path, job: Snapshot) -> None:
    fault = {"node": 1, "step": 2, "signal": "SIGKILL"}

    survivor, killed = gang(preloaded, home / "killed", job, fault)

    assert (survivor["code"], survivor["result"]["failure"]["reason"]) == (75, "LostPeer")
    assert (killed["code"], killed["result"]["failure"]["reason"]) == (137, "Crashed")


def test_a_rank_that_stands_still_is_given_up_with_those_that_wait_for_it(
    preloaded: Preloaded, home: Path, job: Snapshot
) -> None:
    fault = {"node": 1, "step": 4, "signal": "SIGSTOP", "patience": 2}

    waiting, stopped = gang(preloaded, home / "stopped", job.model_copy(update={"attempt": 2}), fault)

    assert (stopped["code"], stopped["result"]["failure"]["reason"]) == (75, "Watchdog")
    # Whichever comes first: its own launcher loses patience, or the other pod is gone.
    assert waiting["code"] == 75
    assert waiting["result"]["failure"]["reason"] in ("LostPeer", "Watchdog")


def test_the_next_gang_goes_on_from_their_checkpoint_and_learns_to_tell(
    preloaded: Preloaded, home: Path, job: Snapshot
) -> None:
    done = gang(preloaded, home / "done", job.model_copy(update={"attempt": 3}))

    assert [rank["code"] for rank in done] == [0, 0]
