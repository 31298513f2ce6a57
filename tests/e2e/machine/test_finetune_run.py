"""`finetune run` from raw rows to a published model, with the real trainer: two ranks, DeepSpeed, gloo."""

from __future__ import annotations

import hashlib

from finetune_trainer.prepared import open_split
from local_runs import Succeeded


def told(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


def test_losses_before_and_after_are_measured_on_the_test_split_and_told(uninterrupted: Succeeded) -> None:
    run, published = uninterrupted.run, uninterrupted.published
    (data,) = (run.output / "prepared").iterdir()
    metrics = published.json("reports/metrics.json")["metrics"]

    assert len(open_split(data, "test")) > 20
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
