"""Which clusters of others the tests may use: those whose name says that nobody will miss them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

VARIABLE = "FINETUNE_TEST_KUBECONFIG"
_DISPOSABLE = ("kind-*", "k3d-*", "minikube", "disposable-*")


class NotDisposable(RuntimeError):
    """The kubeconfig leads to a cluster that may be somebody's."""


def refusal(context: str) -> str | None:
    """Why tests may not run in this context of a kubeconfig, or None."""
    if any(fnmatchcase(context, pattern) for pattern in _DISPOSABLE):
        return None
    return (
        f"{VARIABLE}: its current context {context!r} does not look disposable; "
        f"name it like one of {', '.join(_DISPOSABLE)} if the tests may do there what they like"
    )


def kubeconfig(env: Mapping[str, str]) -> Path | None:
    """The kubeconfig that the user wants tests to use, or None for nodes of our own.

    Raises:
        NotDisposable: there is no such file, or its current context is refused.
    """
    if not (name := env.get(VARIABLE)):
        return None
    path = Path(name)
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise NotDisposable(f"{VARIABLE}: cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError:
        raise NotDisposable(f"{VARIABLE}: {path} is no kubeconfig") from None
    if complaint := refusal(config.get("current-context") or "" if isinstance(config, dict) else ""):
        raise NotDisposable(complaint)
    return path
