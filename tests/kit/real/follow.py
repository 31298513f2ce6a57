"""A person's view of one job: what crds/examples/follow.sh prints while it runs."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from cluster_process import Process
from real.job import RealJob

SCRIPT = Path(__file__).parents[3] / "crds" / "examples" / "follow.sh"


def follower(job: RealJob, folder: Path) -> Process:
    """The script, not started yet: it applies the job. What it prints is its log."""
    manifest = folder / "job.yaml"
    manifest.write_text(yaml.safe_dump(job.manifest, sort_keys=False))
    access = job.access
    env = {"KUBECONFIG": str(access.kubeconfig), "PATH": f"{access.kubectl_folder}:{os.environ['PATH']}"}
    return Process("follow.sh", [str(SCRIPT), str(manifest)], folder / "transcript.txt", env)
