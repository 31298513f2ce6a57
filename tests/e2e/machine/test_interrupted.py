"""A run that is stopped and hit in mid-training ends as the same model, bit by bit, as one that never was."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune_trainer.checkpoint.layout import Entry, Head
from local_runs import Succeeded, TinyRun, stopped_at_the_end, wait_until


@dataclass(frozen=True)
class Ended:
    """One call of the command, and what it left."""

    status: int
    said: str
    head: Head
    processes: list[int]

    @property
    def last(self) -> Entry:
        """The newest checkpoint."""
        return self.head.checkpoints[-1]


@dataclass(frozen=True)
class Story:
    """Ctrl-C after a checkpoint; the same command again; in mid-training SIGKILL to a rank."""

    run: TinyRun
    manifest: Path
    stopped: Ended
    killed: Ended

    @property
    def resumed(self) -> list[str]:
        """What each start of the gang said of where it goes on, in order."""
        return [said for log in self.run.logs("train", 0) for said in re.findall(r"resumed from [\w ,]+", log)]


def stop(run: TinyRun, manifest: Path) -> Ended:
    with run.started(manifest) as process:
        wait_until(lambda: run.checkpoints, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert run.head is not None
    return Ended(process.returncode, said, run.head, run.processes())


def kill(run: TinyRun, manifest: Path, *, after: int) -> Ended:
    with run.started(manifest) as process:
        wait_until(lambda: run.training_since(after), process)
        os.kill(run.rank(1), signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert run.head is not None
    return Ended(process.returncode, said, run.head, run.processes())


@pytest.fixture(scope="module")
def story(materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with stopped_at_the_end(TinyRun(tmp_path_factory.mktemp("interrupted"), materials)) as run:
        manifest = run.write()
        stopped = stop(run, manifest)
        yield Story(run, manifest, stopped, killed=kill(run, manifest, after=stopped.last.step))


def test_ctrl_c_leaves_a_checkpoint_and_no_process(story: Story, uninterrupted: Succeeded) -> None:
    stopped = story.stopped
    assert stopped.status == 128 + signal.SIGINT, stopped.said
    assert f"`finetune run {story.manifest}` goes on from the last checkpoint." in stopped.said
    assert stopped.head.published is None
    assert 0 < stopped.last.step < uninterrupted.published.manifest.step
    assert stopped.processes == []


def test_the_same_command_goes_on_from_it(story: Story) -> None:
    assert story.resumed[0] == f"resumed from step {story.stopped.last.step}, saved under epoch 1"


def test_a_killed_rank_is_healed_by_a_second_attempt(story: Story) -> None:
    killed = story.killed
    assert killed.status == 0, killed.said
    # The killed rank's, though its pod may be told to stop while it ends: its peer's may have ended first.
    assert "Train attempt 1 ended with exit code 137" in killed.said, killed.said
    assert "Train attempt 2 runs on all its nodes." in killed.said
    assert killed.head.epoch == 3
    last = next(entry for entry in reversed(killed.head.checkpoints) if entry.epoch < 3)
    assert story.resumed[1:] == [f"resumed from step {last.step}, saved under epoch {last.epoch}"]
    assert killed.processes == []


@pytest.mark.parametrize("path", ["model/adapter_model.safetensors", "reports/metrics.json", "reports/samples.json"])
def test_what_is_published_is_the_same_to_the_last_bit(path: str, story: Story, uninterrupted: Succeeded) -> None:
    # metrics.json holds the loss of every step: one that was left out or taken twice shows there too.
    assert story.run.published.files[path] == uninterrupted.published.files[path]
