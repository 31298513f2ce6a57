"""A classifier whose every weight is trained under ZeRO 3 on two nodes: a rank is killed, the next gang finishes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import plain_process
from finetune_api.contract import Stage
from finetune_api.status import Cause
from real.faults import kill_training
from real.job import RealJob
from real.materials import BUCKET
from real.store import Store, download
from real.story import Finished, finish, gone_on

pytestmark = pytest.mark.tier("node")

TOLERANCE = 1e-4
"""Nats: document by document in plain PyTorch, against packed rows with attention that stays inside a document."""


@dataclass(frozen=True)
class Story:
    """A gang that lost a rank in mid-run, and the one after it."""

    finished: Finished
    resumed: tuple[int, int]
    """Step and epoch from which the second attempt went on."""


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store) -> Story:
    job = new_job(
        "tickets",
        data={"sources": [{"uri": f"s3://{BUCKET}/tickets/*.jsonl"}]},
        task={"type": "Classification"},
        method={"type": "Full", "lora": None},
        training={"epochs": 8, "sequenceLength": 32, "learningRate": 0.001},
        deepspeed={"zeroStage": 3},
        # A checkpoint is a hundred times as large as one of adapters.
        checkpoint={"intervalSeconds": 2, "keepLast": 2},
    )
    job.apply()
    job.in_training(1, beyond=0)
    # Only the rank: its launcher and its peer on the other node are to notice.
    kill_training(job.access, job.namespace, job.pods(Stage.TRAIN, 1)[1]["metadata"]["name"], None)
    resumed = gone_on(job, 2)
    return Story(finish(job, store), resumed)


@pytest.mark.timeout(60)
def test_the_killed_rank_is_counted_and_the_next_gang_goes_on_from_a_checkpoint(story: Story) -> None:
    first, second = story.finished.attempts(Stage.TRAIN)
    step, epoch = story.resumed
    total_steps = story.finished.publication.manifest.step

    assert (first.cause, first.counted, first.exit_code) == (Cause.CRASHED, True, 137), first
    assert second.cause is Cause.COMPLETED
    assert epoch == 1
    assert 0 < step < total_steps
    assert [number for number, _ in story.finished.publication.losses] == list(range(1, total_steps + 1))


def test_it_tells_labels_better_than_who_always_answers_the_commonest(story: Story) -> None:
    reports = story.finished.publication.json("reports/metrics.json")
    metrics = story.finished.status.metrics

    assert metrics is not None
    assert metrics.test_macro_f1 == reports["test"]["macroF1"] > reports["baseTest"]["macroF1"] + 0.2
    assert metrics.test_accuracy is not None
    assert metrics.base_test_accuracy is not None
    assert metrics.test_accuracy > metrics.base_test_accuracy


@pytest.mark.timeout(240)
def test_whole_weights_compute_in_plain_transformers_what_status_reports(
    story: Story, store: Store, materials: Path, tmp_path: Path
) -> None:
    status = story.finished.status
    assert status.data_uri is not None
    assert status.metrics is not None
    model = story.finished.publication.write(tmp_path / "published") / "model"
    with store.opened() as storage:
        data = download(storage, status.data_uri, tmp_path / "data")

    (loss,) = plain_process.losses([plain_process.request(materials / "model", model, data)])

    assert loss == pytest.approx(status.metrics.test_loss, abs=TOLERANCE)
    assert "adapter_config.json" not in {path.name for path in model.iterdir()}
