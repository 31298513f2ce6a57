"""The format of a published model, and when it counts: after all its files, when the output's manifest names its run.

<output.uri>/manifest.json                                      replaced by compare-and-swap
<output.uri>/runs/<run>/published/epoch-<e>/manifest.json       written once, then named by HEAD.json
                                            model/ reports/
"""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from finetune_api.model import Model
from finetune_api.result import Metrics, Published
from finetune_api.spec import Spec
from finetune_trainer.checkpoint.commit import Fenced, Run, read_head
from finetune_trainer.checkpoint.layout import MANIFEST, run_uri
from finetune_trainer.storage import NotFound, PreconditionFailed, Storage
from finetune_trainer.verified import Damaged, ListedFile, Sha256, all_stored, read_verified

REPORT = "reports/report.html"
SAMPLES = "reports/samples.json"
METRICS = "reports/metrics.json"
MERGED = "merged"
"""Folder of the base model with the adapter merged into it."""


class Manifest(Model):
    """The commit of a finished model."""

    format: Literal[1] = 1
    run: str
    step: int
    """Optimizer steps taken."""
    epoch: int
    """Under which it was published."""
    base_model_uri: str
    base_model_digest: str
    data_uri: str
    data_digest: str
    metrics: Metrics
    files: tuple[ListedFile, ...]


class OutputManifest(Model):
    """Which run's model is the one of this output."""

    format: Literal[1] = 1
    run: str
    epoch: int
    manifest: str
    """Below the output's uri."""
    manifest_sha256: Sha256


def publication_folder(epoch: int) -> str:
    """Relative to the run's uri."""
    return f"published/epoch-{epoch:04}"


def commit(storage: Storage, run: Run, output_uri: str, manifest: Manifest) -> Published:
    """Make a publication count whose files are all stored. Raises Fenced, StoreUnavailable or AccessDenied."""
    key = f"{publication_folder(run.epoch)}/{MANIFEST}"
    entry = run.publish(key, manifest.model_dump_json(by_alias=True, indent=2).encode(), manifest.step)
    pointer = OutputManifest(
        run=manifest.run,
        epoch=run.epoch,
        manifest=f"runs/{manifest.run}/{key}",
        manifest_sha256=entry.manifest_sha256,
    )
    _point(storage, run, f"{output_uri.rstrip('/')}/{MANIFEST}", pointer)
    return _published(f"{run.uri}/{publication_folder(run.epoch)}", manifest, entry.manifest_sha256)


def read_published(storage: Storage, spec: Spec, run: str) -> Published | None:
    """The finished model of this very run, when the output's manifest names it and all that `spec` asks for is there.

    None otherwise, also when something of it was deleted or damaged since, or the merged model is asked for only by
    now: then publishing again is right.
    """
    uri = run_uri(spec.output.uri, run)
    head = read_head(storage, uri)
    pointer = _read_pointer(storage, f"{spec.output.uri.rstrip('/')}/{MANIFEST}")
    if head is None or head.published is None or pointer is None:
        return None
    if (pointer[0].run, pointer[0].manifest_sha256) != (run, head.published.manifest_sha256):
        return None
    folder = f"{uri}/{publication_folder(head.published.epoch)}"
    try:
        content = read_verified(storage, f"{folder}/{MANIFEST}", head.published.manifest_sha256)
        manifest = Manifest.model_validate_json(content)
    except Damaged:
        return None
    if spec.publishes_merged and not any(file.path.startswith(f"{MERGED}/") for file in manifest.files):
        return None
    if not all_stored(storage, folder, manifest.files):
        return None
    return _published(folder, manifest, head.published.manifest_sha256)


def _point(storage: Storage, run: Run, uri: str, pointer: OutputManifest) -> None:
    while True:
        found = _read_pointer(storage, uri)
        if found is not None and found[0].run == pointer.run and found[0].epoch > pointer.epoch:
            raise Fenced(run.uri, run.epoch)
        try:
            storage.write(
                uri,
                pointer.model_dump_json(by_alias=True, indent=2).encode(),
                if_match=found[1] if found else None,
                if_absent=found is None,
            )
        except PreconditionFailed:
            continue  # another run was published just now: the last one counts
        return


def _read_pointer(storage: Storage, uri: str) -> tuple[OutputManifest, str] | None:
    try:
        content, etag = storage.read(uri)
    except NotFound:
        return None
    try:
        return OutputManifest.model_validate_json(content), etag
    except ValidationError:
        nothing = OutputManifest(run="", epoch=0, manifest="", manifest_sha256="0" * 64)
        return nothing, etag  # whatever lies there is replaced


def _published(folder: str, manifest: Manifest, digest: str) -> Published:
    return Published(
        step=manifest.step,
        epoch=manifest.epoch,
        model_uri=f"{folder}/model",
        report_uri=f"{folder}/{REPORT}",
        manifest_uri=f"{folder}/{MANIFEST}",
        manifest_sha256=digest,
        metrics=manifest.metrics,
    )
