"""This machine as a node: its GPUs, its interpreter, its free ports, the caller's environment."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_operator.apply.local.container import LOOPBACK

_PORTS = range(20_000, 32_000)
"""Below the range from which the kernel picks ports for outgoing connections, of which a gang opens many."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where pods run as processes."""

    folder: Path
    """For the pods' files and logs."""
    python: str
    """Interpreter that stands in for the image's, with the trainer installed."""
    environ: Mapping[str, str]
    """Stands in for the image's environment and for Secrets."""
    gpus: tuple[str, ...] = ()
    """Indexes or UUIDs, as CUDA_VISIBLE_DEVICES takes them."""


def find_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What this process may use, asked of the driver's own tool so that no CUDA library is loaded."""
    if "CUDA_VISIBLE_DEVICES" in environ:
        return tuple(device.strip() for device in environ["CUDA_VISIBLE_DEVICES"].split(",") if device.strip())
    if (tool := shutil.which("nvidia-smi", path=environ.get("PATH"))) is None:
        return ()
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False, timeout=60)
    if listed.returncode != 0:
        return ()
    # Slices of a divided GPU are listed below it, indented.
    num_gpus = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return tuple(str(index) for index in range(num_gpus))


def free_port(source: random.Random) -> int:
    """A port of loopback that nobody listens on. Raises OSError when there is none."""
    for port in source.sample(_PORTS, k=200):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError("no free port on the loopback interface")
