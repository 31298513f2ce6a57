"""Every manifest that we hand to people becomes children that any cluster takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_api.contract import SNAPSHOT_FILE, Stage
from finetune_api.job import FineTuneJob
from finetune_api.snapshot import Snapshot
from finetune_operator.cli.manifest import read_manifests
from finetune_operator.decide.attempts import job_name
from finetune_operator.render import render
from finetune_operator.settings import Settings
from jobs import UID
from observed import an_attempt, prepared_status
from pod_security import violations

EXAMPLES = sorted((Path(__file__).parents[2] / "crds" / "examples").glob("*.yaml"))
SETTINGS = Settings(trainer_image="registry.example/trainer:1")
KINDS = {
    Stage.PREPARE: ["ConfigMap", "NetworkPolicy", "Job"],
    Stage.TRAIN: ["ConfigMap", "NetworkPolicy", "Service", "Job"],
}


def stored(path: Path, stage: Stage) -> FineTuneJob:
    """The example in a cluster, with the first attempt of this stage decided."""
    (manifest,) = read_manifests(path).manifests
    metadata = {"namespace": "ml", **manifest.body["metadata"], "uid": UID}
    attempt = an_attempt(stage=stage, job_name=job_name(metadata["name"], UID, stage, 1))
    return FineTuneJob.observed({**manifest.body, "metadata": metadata, "status": prepared_status(attempt).to_json()})


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_rendered(path: Path, stage: Stage) -> None:
    job = stored(path, stage)
    children = {manifest["kind"]: manifest for manifest in render(job, SETTINGS)}
    assert list(children) == KINDS[stage]
    assert json.loads(json.dumps(children)) == children
    assert Snapshot.parse(json.loads(children["ConfigMap"]["data"][SNAPSHOT_FILE])).spec == job.spec
    template = children["Job"]["spec"]["template"]
    assert violations(template["spec"]) == []
    assert children["Job"]["spec"]["completions"] == (job.spec.workers.nodes if stage is Stage.TRAIN else 1)
    assert _secrets(template["spec"]) == ({job.spec.storage.secret_name} if job.spec.storage.secret_name else set())
    # `-<index>` makes it a pod's hostname.
    assert all(len(f"{manifest['metadata']['name']}-63") <= 63 for manifest in children.values())


def _secrets(pod: dict[str, Any]) -> set[str]:
    return {
        entry["valueFrom"]["secretKeyRef"]["name"]
        for container in pod["containers"]
        for entry in container["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    }
