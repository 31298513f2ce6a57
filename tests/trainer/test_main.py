import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpora import pair, prepare_snapshot
from finetune_api.contract import RELEASE, Stage
from finetune_api.result import Result
from finetune_api.snapshot import Snapshot
from finetune_trainer.commands import main
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


def test_data_alone_is_prepared_without_a_weight_and_the_job_then_finds_it_there(tmp_path):
    snapshot = prepare_snapshot(tmp_path)
    weights = tmp_path / "model" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    code, result, log = run("data", tmp_path / "data", snapshot)
    assert (code, result.failure, result.prepared) == (0, None, None), log
    page = Path(result.report_uri.removeprefix("file://"))
    assert page.name == "report.html"
    assert page.exists()

    (tmp_path / "elsewhere").rename(weights)
    code, result, _ = run("prepare", tmp_path / "prepare", snapshot)
    assert (code, result.prepared.data_uri) == (0, f"file://{page.parent}")


def test_a_users_mistake_is_one_sentence_and_no_stack_trace(tmp_path):
    snapshot = prepare_snapshot(tmp_path, [b"not json"] * 20 + [json.dumps(pair(n)).encode() for n in range(20)])
    code, result, log = run("prepare", tmp_path / "prepare", snapshot)
    assert (code, result.failure.field) == (66, "spec.data.sources")
    assert "Traceback" not in log
    assert result.failure.places
    assert result.report_uri.startswith(f"{snapshot.spec.output.uri}/prepared/")


def test_an_operator_of_another_release_is_told_which_image_would_understand_it(tmp_path):
    snapshot = prepare_snapshot(tmp_path)
    newer = snapshot.to_json() | {"release": "9.0.0", "attempt": 3}
    newer["spec"]["method"] = {"type": "ReFT", "reft": {}}
    environ = pod_environ(tmp_path / "pod", snapshot)
    Path(environ["FINETUNE_SNAPSHOT"]).write_text(json.dumps(newer))
    done = subprocess.run(
        [sys.executable, "-m", "finetune_trainer", "prepare"], env=environ, capture_output=True, text=True, timeout=120
    )
    result = Result.model_validate_json(Path(environ["FINETUNE_RESULT"]).read_bytes())
    assert (done.returncode, result.stage, result.attempt) == (64, Stage.PREPARE, 3)
    assert result.failure.field == "spec.workers.image"
    assert f"release {RELEASE} " in result.failure.message
    assert "release 9.0.0 asks for (spec.method.type: " in result.failure.message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["publish"], ["train", "now"]])
def test_an_unknown_command_is_answered_with_the_known_ones(arguments, capsys):
    assert main(arguments, {}) == 64
    assert capsys.readouterr().err == "usage: python -m finetune_trainer prepare | data | train | result | shape\n"


def test_a_stop_that_comes_while_the_rest_is_imported_is_heard_by_a_containers_first_process(tmp_path):
    environ = pod_environ(tmp_path, prepare_snapshot(tmp_path)) | {"FINETUNE_HOSTS": "{}"}
    # To that process a signal without a handler is an ignored one.
    first = subprocess.Popen(
        [sys.executable, "-m", "finetune_trainer", "train"],
        env=environ,
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    )
    while first.poll() is None:
        first.terminate()
        time.sleep(0.005)
    assert first.returncode == 143
    # Had only the launcher heard it, it would have left a Result.
    assert not Path(environ["FINETUNE_RESULT"]).exists()


@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT"])
def test_a_stop_that_comes_when_everything_is_said_does_not_change_the_exit_code(stop):
    # The Job controller stops what is left of a gang in the very moment in which the rank that fell ends by itself.
    late = (
        f"import atexit, os, runpy, signal; atexit.register(os.kill, os.getpid(), signal.{stop}); "
        "runpy.run_module('finetune_trainer', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64, done.stderr
