"""The verbs and their options. A verb's own module is imported only when it is called, so that help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="finetune",
    help="Fine-tune Mistral models from one manifest: on this machine, or with finetune-operator in a cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    job: Annotated[Path, typer.Argument(help="Manifest of one FineTuneJob.")],
    state: Annotated[
        Path | None,
        typer.Option(help="Folder for logs and scratch files. [default: finetune-operator/runs in the user's cache]"),
    ] = None,
) -> None:
    """Run a FineTuneJob on this machine, without a cluster; called again, resume it from its last checkpoint."""
    from finetune_operator.cli.run import run as run_job

    raise typer.Exit(run_job(job, state=state, environ=dict(os.environ), python=sys.executable))


@app.command()
def prepare(
    job: Annotated[Path, typer.Argument(help="Manifest of one FineTuneJob.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the prepared data and its report: a new one, or that of an earlier time.")
    ],
) -> None:
    """Prepare the data of a FineTuneJob on this machine and show what is wrong with it; no weights are read.

    Exit status: 0, or that of the stage: 64 settings, 65 data or model, 66 too many bad rows, 75 try again.
    """
    from finetune_operator.cli.prepare import prepare as prepare_data

    raise typer.Exit(prepare_data(job, out=out, environ=dict(os.environ), python=sys.executable))


@app.command()
def estimate(
    job: Annotated[Path, typer.Argument(help="Manifest of one FineTuneJob.")],
) -> None:
    """Tell what memory and time the training of a FineTuneJob takes; of the model, config.json alone is read.

    Exit status: 0, 64 when it does not fit, or that of the trainer: 64 settings, 65 model, 77 access, 75 try again.
    """
    from finetune_operator.cli.estimate import estimate as estimate_job

    raise typer.Exit(estimate_job(job, environ=dict(os.environ), python=sys.executable))


@app.command()
def validate(
    jobs: Annotated[list[Path], typer.Argument(help="Manifests.")],
) -> None:
    """Find everything that is wrong with manifests and can be known without a cluster."""
    from finetune_operator.cli.validate import validate as validate_files

    raise typer.Exit(validate_files(jobs))
