"""`finetune validate`: everything that is wrong with manifests, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from finetune_operator.cli.manifest import read_manifests


def validate(paths: Sequence[Path]) -> int:
    """Print every problem of every file; the exit status."""
    read = [read_manifests(path) for path in paths]
    problems = [problem for each in read for problem in each.problems]
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        return 1
    for each in read:
        for manifest in each.manifests:
            typer.echo(f"{manifest.job.metadata.name}: valid")
    return 0
