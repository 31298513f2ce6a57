"""A run that is stopped or hit in mid-training ends as the same model, bit by bit, as one that never was."""

from __future__ import annotations

import os
import signal

from local_runs import Publication, Succeeded, TinyRun, wait_until

OUTCOME = ("model/adapter_model.safetensors", "reports/metrics.json", "reports/samples.json")
"""Every step's loss is in the second, so a step that was left out or taken twice shows there too."""


def outcome(published: Publication) -> dict[str, bytes]:
    return {path: published.files[path] for path in OUTCOME}


def resumed(run: TinyRun) -> list[str]:
    """What rank 0 of each start of the gang said of where it goes on."""
    return [
        " ".join(line.split()[3:]) for log in run.logs("train", 0) for line in log.splitlines() if "resumed" in line
    ]


def test_ctrl_c_in_mid_training_and_the_same_command_again(uninterrupted: Succeeded, tiny_run: TinyRun) -> None:
    manifest = tiny_run.write()
    with tiny_run.started(manifest) as process:
        wait_until(lambda: tiny_run.checkpoints, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGINT, said
    assert f"`finetune run {manifest}` goes on from the last checkpoint." in said
    assert tiny_run.processes() == []
    left = tiny_run.head
    assert left is not None
    assert left.published is None
    assert left.checkpoints[-1].step < uninterrupted.published.manifest.step

    status, said = tiny_run.run(manifest)

    assert status == 0, said
    assert resumed(tiny_run) == [f"resumed from step {left.checkpoints[-1].step}, saved under epoch 1"]
    assert outcome(tiny_run.published) == outcome(uninterrupted.published)
    assert tiny_run.processes() == []


def test_a_rank_killed_in_mid_training(uninterrupted: Succeeded, tiny_run: TinyRun) -> None:
    with tiny_run.started(tiny_run.write()) as process:
        wait_until(lambda: tiny_run.checkpoints, process)
        os.kill(tiny_run.rank(1), signal.SIGKILL)
        said, _ = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert "Train attempt 1 ended with exit code 137" in said
    assert "Train attempt 2 runs on all its nodes." in said
    head = tiny_run.head
    assert head is not None
    assert head.epoch == 2
    last = max(entry.step for entry in head.checkpoints if entry.epoch == 1)
    assert resumed(tiny_run) == [f"resumed from step {last}, saved under epoch 1"]
    assert last < uninterrupted.published.manifest.step
    assert outcome(tiny_run.published) == outcome(uninterrupted.published)
    assert tiny_run.processes() == []
