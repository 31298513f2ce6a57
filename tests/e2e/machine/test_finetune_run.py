"""`finetune run` from raw rows to a published model, with the real trainer: two ranks, DeepSpeed, gloo."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_trainer.prepared import open_split
from local_runs import Succeeded, wait_until

PLAIN_PEFT = Path(__file__).parents[2] / "kit" / "plain_peft.py"


def told(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


def test_plain_transformers_and_peft_compute_the_losses_that_are_told(uninterrupted: Succeeded) -> None:
    run, published = uninterrupted.run, uninterrupted.published
    (data,) = (run.output / "prepared").iterdir()
    raw = (run.materials / "raw" / "rows.jsonl").read_text().splitlines()
    lines = open_split(data, "test").rows.tolist()  # of the first object, so row ids are line numbers

    plain = subprocess.run(
        [sys.executable, PLAIN_PEFT, run.materials / "model", published.folder / "model"],
        input="\n".join(raw[line - 1] for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert plain.returncode == 0, plain.stderr
    computed, metrics = json.loads(plain.stdout), published.json("reports/metrics.json")["metrics"]
    assert computed["ours"] == []
    assert computed["rows"] == len(lines) > 20
    assert computed["after"] == pytest.approx(metrics["testLoss"], abs=1e-4)
    assert computed["before"] == pytest.approx(metrics["baseTestLoss"], abs=1e-4)
    assert metrics["testLoss"] < metrics["baseTestLoss"] - 0.5
    assert published.manifest.metrics.to_json() == metrics
    losses = f"{metrics['baseTestLoss']:.3f} before, {metrics['testLoss']:.3f} after (nats per answer token)"
    assert f"Test loss {losses}" in told(uninterrupted.said)


def test_what_is_published_is_whole_and_no_process_is_left(uninterrupted: Succeeded) -> None:
    run, published = uninterrupted.run, uninterrupted.published
    content = {path: text for path, text in published.files.items() if path != "manifest.json"}

    assert {file.path: (file.size, file.sha256) for file in published.manifest.files} == {
        path: (len(text), hashlib.sha256(text).hexdigest()) for path, text in content.items()
    }
    assert content.keys() == {
        "model/README.md",
        "model/adapter_config.json",
        "model/adapter_model.safetensors",
        "model/chat_template.jinja",
        "model/generation_config.json",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "reports/metrics.json",
        "reports/report.html",
        "reports/samples.json",
        "reports/tensorboard/events.out.tfevents.0",
    }
    assert published.pointer.manifest_sha256 == hashlib.sha256(published.files["manifest.json"]).hexdigest()
    samples = published.json("reports/samples.json")
    assert [set(sample) for sample in samples] == [{"prompt", "expected", "before", "after"}] * 2
    assert f"Test row 1 {samples[0]['prompt']}" in told(uninterrupted.said)
    assert f"Report {published.folder}/reports/report.html" in told(uninterrupted.said)
    assert [point["step"] for point in published.json("reports/metrics.json")["steps"]] == list(
        range(1, published.manifest.step + 1)
    )
    assert run.processes() == []


def test_the_same_manifest_again_trains_nothing(uninterrupted: Succeeded) -> None:
    run = uninterrupted.run
    head = run.head

    status, said = run.run(uninterrupted.manifest)

    assert status == 0, said
    assert "Reused this very run was published before, so nothing was trained" in told(said)
    assert f"Model {uninterrupted.published.folder}/model" in told(said)
    assert len(run.logs("train", 0)) == 1
    assert run.head == head


def test_the_same_run_again_is_refused_where_it_must_be_new(uninterrupted: Succeeded, tmp_path: Path) -> None:
    again = uninterrupted.run.in_folder(tmp_path)

    status, said = again.run(again.write(output={"ifExists": "Fail", "uri": f"file://{uninterrupted.run.output}"}))

    assert status == 1
    assert "Change spec.output.ifExists" in told(said)


def test_another_seed_is_another_run(uninterrupted: Succeeded, tmp_path: Path) -> None:
    other = uninterrupted.run.in_folder(tmp_path)
    manifest = other.write(training={"seed": 1}, output={"uri": f"file://{uninterrupted.run.output}"})

    with other.started(manifest) as process:
        wait_until(lambda: any(snapshot.prepared for snapshot in other.snapshots()), process)
        (run, *_) = [snapshot.prepared.run for snapshot in other.snapshots() if snapshot.prepared]
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGINT, said
    assert run != uninterrupted.published.pointer.run
    assert re.search(r"Train attempt 1 is Job", said)
    assert other.processes() == []
