"""What trackers are sent, by MLflow's and W&B's own clients; of MLflow's server there is a stand-in here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Metrics
from finetune_api.snapshot import Snapshot
from finetune_trainer.tracking import MOST_WAITING, Tracking, parameters
from jobs import make_job
from mlflow_server import serving_mlflow
from results import PREPARED, RUN

pytestmark = pytest.mark.long


def progress(step: int, **changes) -> Progress:
    told = Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=step, loss=1 / step)
    return told.model_copy(update=changes)


def snapshot(**tracking) -> Snapshot:
    spec = make_job(tracking=tracking).spec
    return Snapshot(name="triage", namespace="ml", uid="u", stage=Stage.TRAIN, attempt=1, spec=spec, prepared=PREPARED)


class Sent:
    """A tracker that keeps what it is sent."""

    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []
        self.finished = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def send(self, step, values) -> None:
        self.may_go_on.wait(10)
        self.values.append((step, dict(values)))

    def finish(self) -> None:
        self.finished = True


def test_every_step_is_sent_once_and_then_what_the_model_reached():
    tracker = Sent()
    tracking = Tracking(lambda: tracker)
    tracking(progress(1, loss=None))
    tracking(progress(1, learning_rate=1e-4))
    tracking(progress(1, activity=Activity.EVALUATING))
    tracking(progress(2, validation_loss=3.0))
    tracking.finish(2, Metrics(base_test_loss=4.0, test_loss=2.0))
    assert tracker.values == [
        (1, {"loss": 1.0, "learning_rate": 1e-4}),
        (2, {"loss": 0.5, "validation_loss": 3.0}),
        (2, {"base_test_loss": 4.0, "test_loss": 2.0}),
    ]
    assert tracker.finished


def test_a_run_that_is_interrupted_stays_open():
    tracker = Sent()
    tracking = Tracking(lambda: tracker)
    tracking(progress(1))
    tracking.close(within=10)
    assert tracker.values == [(1, {"loss": 1.0})]
    assert not tracker.finished


def test_a_tracker_that_is_slow_costs_steps_of_its_curves_and_the_run_nothing(caplog):
    tracker = Sent()
    tracker.may_go_on.clear()
    tracking = Tracking(lambda: tracker)
    for step in range(1, MOST_WAITING + 10):
        tracking(progress(step))
    tracker.may_go_on.set()
    tracking.close(within=10)
    assert MOST_WAITING <= len(tracker.values) < MOST_WAITING + 9
    assert "the tracker is too slow" in caplog.text


def test_a_tracker_that_fails_is_told_once_and_without_its_words(caplog):
    def refuse():
        raise PermissionError("key 123 is not valid")

    tracking = Tracking(refuse)
    tracking.close(within=10)
    for step in range(1, 5):
        tracking(progress(step))
    assert [record.getMessage() for record in caplog.records] == [
        "nothing more is sent to spec.tracking: PermissionError"
    ]


def test_parameters_are_all_that_decides_the_outcome():
    found = parameters(snapshot(type="WandB", secretName="hidden"), PREPARED)
    assert found["resolved.globalBatchSize"] == "8"
    assert found["training.epochs"] == "3"
    assert found["run"] == RUN
    assert "hidden" not in json.dumps(found)


def in_a_process(code: str, env: dict[str, str]) -> None:
    """Clients keep threads and settings of their process."""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ATTEMPT = """
import sys
from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Metrics
from finetune_api.snapshot import Snapshot
from finetune_trainer.tracking import open_tracking
snapshot = Snapshot.model_validate_json({snapshot!r})
tracking = open_tracking(snapshot, snapshot.prepared, {folder!r})
for step in {steps!r}:
    tracking(Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=step, loss=1.0))
tracking.finish({steps!r}[-1], Metrics(test_loss=2.0))
"""


def attempt(found: Snapshot, steps: list[int], folder: str, **env: str) -> None:
    code = ATTEMPT.format(snapshot=found.model_dump_json(by_alias=True), steps=steps, folder=folder)
    in_a_process(code, {"MLFLOW_ENABLE_ASYNC_LOGGING": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", **env})


def test_two_attempts_of_a_run_are_one_run_of_mlflow(tmp_path):
    with serving_mlflow() as server:
        tracked = snapshot(type="MLflow", uri=server.url, project="support")
        attempt(tracked, [1, 2], str(tmp_path), MLFLOW_TRACKING_TOKEN="secret")
        attempt(tracked, [3], str(tmp_path), MLFLOW_TRACKING_TOKEN="secret")
    (run,) = server.runs
    assert server.experiments == ["support"]
    assert server.tokens == {"Bearer secret"}
    assert (run["name"], run["tag"], run["status"]) == ("ml/triage", RUN, "FINISHED")
    assert run["params"]["resolved.totalSteps"] == "300"
    assert [metric for metric in run["metrics"] if metric[1] == "loss"] == [(step, "loss", 1.0) for step in (1, 2, 3)]
    assert (3, "test_loss", 2.0) in run["metrics"]


def test_a_server_that_refuses_ends_nothing(tmp_path):
    with serving_mlflow() as server:
        server.refuses = True
        attempt(snapshot(type="MLflow", uri=server.url), [1], str(tmp_path))
    assert server.runs == []


def test_wandb_writes_a_run_under_the_digest_of_the_run(tmp_path):
    attempt(snapshot(type="WandB", project="support"), [1, 2], str(tmp_path), WANDB_MODE="offline")
    (written,) = tmp_path.rglob("*.wandb")
    assert written.name == f"run-{RUN}.wandb"
    content = written.read_bytes()
    assert b"test_loss" in content
    assert b"ml/triage" in content


@pytest.mark.parametrize("module", ["mlflow", "wandb"])
def test_a_tracker_is_imported_only_where_it_is_asked_for(module):
    in_a_process(f"import sys; import finetune_trainer.tracking; assert {module!r} not in sys.modules", {})
