"""Two pods on two nodes turn raw rows in S3 into a model in S3, with Mistral's own v3 tokenizer."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_api.contract import Stage
from finetune_api.status import StageState
from finetune_trainer.prepared import open_split
from real.nodes import schedulable
from real.stage_times import spans, table
from real.store import Store, download
from real.story import Finished

pytestmark = pytest.mark.tier("node")

PLAIN_PEFT = Path(__file__).parents[2] / "kit" / "plain_peft.py"
TOLERANCE = 1e-4
"""Nats: row by row in plain PyTorch, against packed rows with attention that stays inside a document."""


@pytest.mark.timeout(240)
def test_plain_transformers_and_peft_compute_the_losses_that_status_reports(
    uninterrupted: Finished, store: Store, materials: Path, tmp_path: Path
) -> None:
    status, published = uninterrupted.status, uninterrupted.publication
    adapter = published.write(tmp_path) / "model"
    assert status.data_uri is not None
    with store.opened() as storage:
        data = download(storage, status.data_uri, tmp_path / "data")
    raw = (materials / "raw" / "rows.jsonl").read_text().splitlines()
    lines = open_split(data, "test").rows.tolist()  # of the first object, so row ids are line numbers

    plain = subprocess.run(
        [sys.executable, PLAIN_PEFT, materials / "model", adapter],
        input="\n".join(raw[line - 1] for line in lines),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert plain.returncode == 0, plain.stderr
    computed, metrics = json.loads(plain.stdout), status.metrics
    assert metrics is not None
    assert computed["ours"] == []
    assert computed["rows"] == len(lines) > 20
    assert computed["after"] == pytest.approx(metrics.test_loss, abs=TOLERANCE)
    assert computed["before"] == pytest.approx(metrics.base_test_loss, abs=TOLERANCE)
    assert computed["after"] < computed["before"] - 0.5


def test_status_names_what_is_published_and_how_it_came_about(uninterrupted: Finished) -> None:
    status, published = uninterrupted.status, uninterrupted.publication

    assert [(stage.stage, stage.state) for stage in status.stages] == [
        (Stage.PREPARE, StageState.SUCCEEDED),
        (Stage.TRAIN, StageState.SUCCEEDED),
    ]
    assert [(each.stage, each.number) for each in status.attempts] == [(Stage.PREPARE, 1), (Stage.TRAIN, 1)]
    assert status.metrics == published.manifest.metrics
    assert status.resolved is not None
    assert [step for step, _ in published.losses] == list(range(1, status.resolved.total_steps + 1))
    assert {file.path: (file.size, file.sha256) for file in published.manifest.files} == {
        path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in published.files.items()
    }
    assert {
        "model/adapter_model.safetensors",
        "model/tokenizer.model.v3",
        "reports/report.html",
    } <= published.files.keys()


def test_the_gang_has_a_node_for_each_of_its_pods(uninterrupted: Finished) -> None:
    if len(schedulable(uninterrupted.job.access)) < 2:
        pytest.skip("needs two nodes that take pods")

    first, second = (pod["spec"]["nodeName"] for pod in uninterrupted.pods[Stage.TRAIN])

    assert first != second


def test_each_stage_takes_its_time(uninterrupted: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    rows = spans(uninterrupted.versions, uninterrupted.pods)

    assert all(row.seconds >= 0 for row in rows), table(rows)
    assert abs(sum(row.seconds for row in rows[:-1]) - rows[-1].seconds) <= len(rows)
    with capsys.disabled():
        print(f"\n{table(rows)}")
