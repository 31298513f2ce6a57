"""A run on S3, stopped and hit in mid-training, ends as the same model bit by bit as one on files that never was.

Model, rows and output lie on a real S3 server; its keys come from the caller's environment.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune_trainer.checkpoint.layout import Entry, Head
from local_runs import RunOnS3, Succeeded, stopped_at_the_end, wait_until
from s3server import S3Server

pytestmark = pytest.mark.tier("s3")


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

    run: RunOnS3
    manifest: Path
    stopped: Ended
    killed: Ended

    @property
    def resumed(self) -> list[str]:
        """What each start of the gang said of where it goes on, in order."""
        return [said for log in self.run.logs("train", 0) for said in re.findall(r"resumed from [\w ,]+", log)]


def stop(run: RunOnS3, manifest: Path) -> Ended:
    with run.started(manifest) as process:
        wait_until(lambda: run.checkpoints, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert run.head is not None
    return Ended(process.returncode, said, run.head, run.processes())


def kill(run: RunOnS3, manifest: Path, *, after: int) -> Ended:
    with run.started(manifest) as process:
        wait_until(lambda: run.training_since(after), process)
        os.kill(run.rank(1), signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert run.head is not None
    return Ended(process.returncode, said, run.head, run.processes())


@pytest.fixture(scope="module")
def story(s3_server: S3Server, materials: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    run = RunOnS3(tmp_path_factory.mktemp("interrupted"), materials, s3_server, "interrupted")
    with stopped_at_the_end(run):
        run.make_bucket()
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


def test_all_that_a_run_on_s3_makes_lies_there_and_the_secret_nowhere(story: Story) -> None:
    run, secret = story.run, story.run.server.secret_access_key
    (report,) = run.output.glob("runs/**/report.html")
    assert f"{run.uri}/{report.relative_to(run.output.parent)}" in story.killed.said
    assert not (run.folder / "home" / "output").exists()
    assert secret not in story.stopped.said + story.killed.said
    # Logs, statuses, snapshots, last words: whatever the run has left, and all that it has stored.
    assert files_that_hold(secret, run.folder) == files_that_hold(secret, run.output) == []


def files_that_hold(secret: str, folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found != []
    return [path for path in found if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "canary-of-a-key"}, id="secret"),
        pytest.param({"AWS_SESSION_TOKEN": "canary-of-a-key\n"}, id="line break"),
    ],
)
def test_wrong_keys_are_told_at_once_and_shown_to_nobody(story: Story, tmp_path: Path, wrong: dict[str, str]) -> None:
    run = story.run.in_folder(tmp_path)
    status, said = run.run(run.write(), wrong, within=60)

    assert status == 1
    assert "Change      spec.storage.secretName" in said
    assert "Traceback" not in said
    assert "canary-of-a-key" not in said
    assert files_that_hold("canary-of-a-key", run.folder) == []
    assert run.processes() == []
