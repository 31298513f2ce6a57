"""This machine as a node."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from finetune_operator.apply.local.machine import find_gpus, free_port


def tool(folder: Path, script: str) -> dict[str, str]:
    """An environment in which this is nvidia-smi."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": str(folder)}


def test_the_drivers_tool_counts_the_gpus(tmp_path: Path) -> None:
    lines = (
        "GPU 0: NVIDIA H100 (UUID: GPU-1)",
        "  MIG 1g.10gb Device 0: (UUID: MIG-1)",
        "GPU 1: NVIDIA H100 (UUID: GPU-2)",
    )
    listed = "; ".join(f"echo '{line}'" for line in lines)
    assert find_gpus(tool(tmp_path, listed)) == ("0", "1")


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'"])
def test_a_driver_that_finds_none_means_none(tmp_path: Path, script: str) -> None:
    assert find_gpus(tool(tmp_path, script)) == ()


def test_without_the_tool_there_is_none(tmp_path: Path) -> None:
    assert find_gpus({"PATH": str(tmp_path)}) == ()


@pytest.mark.parametrize(("visible", "gpus"), [("1, GPU-7", ("1", "GPU-7")), ("", ())])
def test_what_the_caller_may_use_is_all_there_is(tmp_path: Path, visible: str, gpus: tuple[str, ...]) -> None:
    environ = tool(tmp_path, "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'")
    assert find_gpus({**environ, "CUDA_VISIBLE_DEVICES": visible}) == gpus


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    first = free_port(random.Random(0))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", first))
        second = free_port(random.Random(0))
    assert second != first
    assert free_port(random.Random(0)) == first
