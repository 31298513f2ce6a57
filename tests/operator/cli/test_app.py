"""The command line itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_FINETUNE = "from finetune_operator.cli import main; main()"


def finetune(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _FINETUNE, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_the_verbs() -> None:
    done = finetune("--help")
    assert done.returncode == 0
    assert {"run", "prepare", "estimate", "validate"} <= set(done.stdout.split())


def test_validate_and_run_refuse_a_file_that_is_not_there(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    for verb in ("validate", "run"):
        done = finetune(verb, str(absent))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{absent}")
        assert len(done.stderr.splitlines()) == 1


def test_running_a_job_loads_no_client_of_a_cluster_and_no_torch() -> None:
    program = (
        "import sys, finetune_operator.cli.run;"
        "print(sorted({'kopf', 'kubernetes', 'prometheus_client', 'torch', 'boto3'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
