"""helm as a user calls it, on the chart of this repository and nothing of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "finetune-operator"
RELEASE = "finetune-operator"
NAMESPACE = "finetune-system"


class Refused(Exception):
    """helm would not; the text is what it says."""


@dataclass(frozen=True)
class Helm:
    """`home` takes the place of the user's own configuration and caches."""

    binary: Path
    home: Path

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """What it prints. Raises Refused."""
        folders = {f"HELM_{name}_HOME": str(self.home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(self.binary), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **folders},
        )
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return done.stdout

    def render(
        self, values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
    ) -> list[dict[str, Any]]:
        """Every manifest of the chart with these values. Raises Refused."""
        arguments = ("template", release, str(CHART), f"--namespace={namespace}", "--values=-")
        return list(yaml.safe_load_all(self.run(*arguments, stdin=json.dumps(values or {}))))
