import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpora import pair, prepare_snapshot
from finetune_api.contract import Stage
from finetune_api.result import Result
from finetune_api.snapshot import Snapshot
from pods import pod_environ


def run(command: str, folder: Path, snapshot: Snapshot) -> tuple[int, Result, str]:
    """The command as a pod runs it: exit code, Result, and what it wrote for people."""
    environ = pod_environ(folder, snapshot)
    done = subprocess.run(
        [sys.executable, "-m", "finetune_trainer", command], env=environ, capture_output=True, text=True, timeout=120
    )
    return done.returncode, Result.model_validate_json(Path(environ["FINETUNE_RESULT"]).read_bytes()), done.stderr


def test_prepare_ends_with_what_training_needs_to_know_and_result_says_what_is_missing_then(tmp_path):
    snapshot = prepare_snapshot(tmp_path)
    code, result, log = run("prepare", tmp_path / "prepare", snapshot)
    assert (code, result.failure) == (0, None), log
    assert result.prepared.data.splits.train > 0

    train = snapshot.model_copy(update={"stage": Stage.TRAIN, "prepared": result.prepared})
    code, result, _ = run("result", tmp_path / "result", train)
    assert (code, result.failure.reason) == (75, "NotPublished")


def test_a_users_mistake_is_one_sentence_and_no_stack_trace(tmp_path):
    snapshot = prepare_snapshot(tmp_path, [b"not json"] * 20 + [json.dumps(pair(n)).encode() for n in range(20)])
    code, result, log = run("prepare", tmp_path / "prepare", snapshot)
    assert (code, result.failure.field) == (66, "spec.data.sources")
    assert "Traceback" not in log
    assert result.failure.places


@pytest.mark.parametrize("arguments", [[], ["publish"], ["train", "now"]])
def test_an_unknown_command_is_answered_with_the_known_ones(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "finetune_trainer", *arguments], env=dict(os.environ), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (64, "usage: python -m finetune_trainer prepare | train | result\n")
