"""A LocalCluster for tests: its pods run until the test says how they end."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_api.contract import CONTAINER
from finetune_operator.apply import Body, Event, Manifest
from finetune_operator.apply.local import LocalCluster
from finetune_operator.apply.local.machine import Machine

_UNTIL_TOLD = """
import os, pathlib, sys, time
told = pathlib.Path(os.environ["GATE"], os.environ["POD"])
while not told.exists():
    time.sleep(0.02)
code, _, says = told.read_text().partition(" ")
pathlib.Path(os.environ["WORDS"]).write_text(says)
sys.exit(int(code))
"""


def local_cluster(
    folder: Path,
    *,
    gpus: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    events: list[Event] | None = None,
) -> LocalCluster:
    """Must be made inside a running event loop, and closed there."""
    told = [] if events is None else events
    return LocalCluster(
        Machine(folder=folder, python=sys.executable, environ=environ or {}, gpus=gpus),
        clock=lambda: datetime.now(UTC),  # noqa: TID251 - a test's edge
        gpu_resource="nvidia.com/gpu",
        tell=lambda _about, event: told.append(event),
        random_source=random.Random(),
    )


@dataclass(frozen=True)
class LocalWorld:
    """Implements conformance.World."""

    cluster: LocalCluster
    gate: Path
    namespace: str = "ml"

    def container(self) -> Manifest:
        return {
            "name": CONTAINER,
            "image": "trainer:test",
            "command": ["python", "-I", "-S", "-c", _UNTIL_TOLD],
            "env": [
                {"name": "GATE", "value": str(self.gate)},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "WORDS", "value": "/dev/termination-log"},
            ],
        }

    async def finish(self, pod: Body, exit_code: int, says: str = "") -> None:
        ready = self.gate / "being-written"
        ready.write_text(f"{exit_code} {says}")
        ready.rename(self.gate / pod["metadata"]["name"])
