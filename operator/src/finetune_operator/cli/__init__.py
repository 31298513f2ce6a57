"""`finetune`, also called `kubectl finetune`: FineTuneJobs from a terminal."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console scripts."""
    try:
        from finetune_operator.cli.app import app
    except ModuleNotFoundError as error:
        sys.exit(f"finetune needs {error.name}: pip install 'finetune-operator[cli]'")
    app()
