"""helm, with an empty home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from binaries import HELM
from chart import Manifest
from helm import Helm


@pytest.fixture(scope="session")
def helm(binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Tier *helm*: the command itself; no cluster."""
    return Helm(binaries(HELM) / "helm", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def default(helm: Helm) -> list[Manifest]:
    """What the chart makes of its default values."""
    return helm.render()
