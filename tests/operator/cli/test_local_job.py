"""A job as it runs on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_operator.cli.local_job import notes, refusals, with_home
from jobs import make_job


def test_the_home_folder_is_spelt_out_wherever_a_uri_starts_with_it() -> None:
    spec = {
        "model": {"uri": "file://~/model"},
        "data": {"sources": [{"uri": "file://~/raw/*.jsonl"}, {"uri": "s3://raw/~/x"}, {"uri": "file:///raw"}]},
        "training": {"epochs": 1},
    }
    assert with_home(spec, Path("/home/me")) == {
        "model": {"uri": "file:///home/me/model"},
        "data": {"sources": [{"uri": "file:///home/me/raw/*.jsonl"}, {"uri": "s3://raw/~/x"}, {"uri": "file:///raw"}]},
        "training": {"epochs": 1},
    }


def test_a_job_that_fits_is_not_refused() -> None:
    assert refusals(make_job(workers={"nodes": 2, "gpusPerNode": 1}), num_gpus=2) == ()
    assert refusals(make_job(workers={"nodes": 8}), num_gpus=0) == ()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"suspend": True}, "spec.suspend"),
        ({"cancel": True}, "spec.cancel"),
        ({"workers": {"gpusPerNode": 2}}, "spec.workers"),
    ],
)
def test_what_can_never_run_here_names_its_field(spec: dict[str, object], field: str) -> None:
    (refusal,) = refusals(make_job(**spec), num_gpus=1)
    assert refusal.startswith(f"{field}: ")


def test_what_means_something_in_a_cluster_only_is_told() -> None:
    job = make_job(
        storage={"secretName": "s3"},
        tracking={"type": "WandB", "secretName": "wandb"},
        workers={"image": "trainer:1", "serviceAccountName": "me"},
        scheduling={"queueName": "gpus", "prepareQueueName": "cpus"},
    )
    assert [note.partition(":")[0] for note in notes(job)] == [
        "spec.storage.secretName",
        "spec.tracking.secretName",
        "spec.workers.image",
        "spec.workers.serviceAccountName",
        "spec.scheduling.queueName",
        "spec.scheduling.prepareQueueName",
    ]
    assert notes(make_job()) == ()
