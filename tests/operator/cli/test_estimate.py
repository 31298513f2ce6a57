"""`finetune estimate`, with the stand-in for the trainer telling the shape of Mistral 7B."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.cli.estimate import estimate
from jobs import make_body
from local_command import stand_in_python

ONE_H100 = {"gpusPerNode": 1, "gpuMemory": "80Gi"}


def estimated(folder: Path, capsys: pytest.CaptureFixture[str], **spec: Any) -> tuple[int, list[str]]:
    """Exit status and lines, blanks made one."""
    manifest = folder / "job.yaml"
    body = make_body(**{"training": {"sequenceLength": 4096}} | spec) | {"metadata": {"name": "docstrings"}}
    manifest.write_text(yaml.safe_dump(body))
    environ = {**os.environ, "HOME": str(folder)}
    status = estimate(manifest, environ=environ, python=str(stand_in_python(folder)))
    return status, [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def test_each_component_and_the_verdict_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = estimated(tmp_path, capsys, workers=ONE_H100)
    assert (status, lines[0]) == (0, "Memory of each GPU, GiB")
    assert [line.split()[0] for line in lines[1:11]] == [
        *("weights", "adapter", "gradients", "optimizer", "buffers"),
        *("activations", "logits", "working", "overhead", "total"),
    ]
    assert "weights 13.50 of the base model" in lines
    assert "Divided ZeRO 1, activation checkpointing None, 2 rows of 4,096 tokens at once" in lines
    assert lines[-3:-1] == [
        "Memory 1.3 GiB of each pod at least, beside its GPUs",
        "Scratch 14.0 GiB of each pod at least",
    ]
    total = next(line.split()[1] for line in lines if line.startswith("total"))
    assert lines[-1] == f"Verdict Fits: {float(total):.1f} GiB of the 80.0 GiB of each GPU."


def test_time_is_told_of_the_gpus_that_could_hold_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = estimated(tmp_path, capsys, workers=ONE_H100)
    header = lines.index("PFLOP B200 H200 H100 PCIe H100 NVL H100 A100")
    assert [line.split()[0] for line in lines[header + 1 : header + 7]] == [
        *("blocks", "attention", "head", "adapter", "total", "tokens/s"),
    ]


def test_a_reference_s_pass_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two halves of a row: as much as a third of what Instruction takes, but for the adapter."""
    _, lines = estimated(tmp_path, capsys, task={"type": "Preference"}, workers=ONE_H100)
    told = {line.split()[0]: line.split()[1] for line in lines if line}
    forward = (float(told["blocks"]) + float(told["head"])) / 2 + float(told["attention"]) / 3
    assert float(told["reference"]) == pytest.approx(forward, abs=0.02)


def test_what_does_not_fit_is_told_with_what_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"gpusPerNode": 1, "gpuMemory": "16Gi"}
    status, lines = estimated(tmp_path, capsys, workers=small, deepspeed={"zeroStage": 2})
    assert status == 64
    assert lines[-1].startswith("Verdict Will not fit. spec.workers.gpuMemory: training takes ")
    assert lines[-1].endswith(" and there are 16.0 GiB; spec.method.type: QLoRA makes it fit")


def test_too_little_scratch_is_told_beside_how_the_work_would_be_divided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = estimated(tmp_path, capsys, workers=ONE_H100 | {"resources": {"scratch": "1Gi"}})
    assert status == 64
    assert "Divided ZeRO 1, activation checkpointing None, 2 rows of 4,096 tokens at once" in lines
    assert lines[-1].endswith("; spec.workers.resources.scratch: 14Gi makes it fit")


@pytest.mark.parametrize(
    ("workers", "field"), [({"gpusPerNode": 8}, "spec.workers.gpuMemory"), ({}, "spec.workers.resources.memory")]
)
def test_where_the_memory_is_not_known_the_field_to_say_it_in_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: dict[str, Any], field: str
) -> None:
    status, lines = estimated(tmp_path, capsys, workers=workers)
    assert (status, lines[-1].partition("; ")[2]) == (0, f"say in {field} how much there is.")


def test_a_model_that_can_not_be_read_ends_it_as_the_trainer_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAIL", "Prepare")
    status, lines = estimated(tmp_path, capsys)
    assert (status, lines[1]) == (65, "Failed No row is left. (NoRows)")
