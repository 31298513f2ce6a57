"""The finished model and its reports: written as files, uploaded, and made to count."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from finetune_api.result import Published
from finetune_trainer import tokenizers
from finetune_trainer.checkpoint.commit import Run
from finetune_trainer.history import History
from finetune_trainer.prepared import PreparedData
from finetune_trainer.publication import MERGED, Manifest, commit, publication_folder
from finetune_trainer.publish.generation import write_generation_config
from finetune_trainer.publish.proof import rendering_of
from finetune_trainer.publish.rendering import Rendering
from finetune_trainer.publish.reports import write_reports
from finetune_trainer.publish.tokenizer import write_tokenizer
from finetune_trainer.publish.weights import Trained, write_trained
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import PLAIN_TEXTS
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.train_stage import TrainStage
from finetune_trainer.verified import ListedFile, files_under

_FILES_AT_ONCE: Final = 4


def publish(
    stage: TrainStage, run: Run | None, trained: Trained, data: PreparedData, *, history: History, telemetry: Telemetry
) -> Published | None:
    """Write the trained weights and their reports, upload them, and make them count. Collective.

    Args:
        run: rank 0's, which writes; None on the others, which give their part of the weights and return None.
        data: on whose test split the tokenizer is to give the ids that were trained.

    Raises Fenced, StoreUnavailable or AccessDenied; the same publication may then be tried again by the next start.
    """
    if run is None:
        write_trained(trained, None)
        return None
    folder = stage.scratch / "publish"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        rendering = _write(stage, trained, data, folder)
        write_reports(folder, stage.snapshot, stage.prepared, history, telemetry, rendering)
        manifest = Manifest(
            run=stage.prepared.run,
            step=history.published_step,
            epoch=run.epoch,
            base_model_uri=stage.spec.model.uri,
            base_model_digest=stage.prepared.model_digest,
            data_uri=stage.prepared.data_uri,
            data_digest=stage.prepared.data_digest,
            metrics=history.metrics,
            files=files_under(folder),
        )
        _upload(stage.storage, folder, manifest, f"{run.uri}/{publication_folder(run.epoch)}")
        return commit(stage.storage, run, stage.spec.output.uri, manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(stage: TrainStage, trained: Trained, data: PreparedData, folder: Path) -> Rendering:
    """All that is loaded; returns what comes of the tokenizer among it."""
    model, merged = folder / "model", folder / MERGED if stage.spec.publishes_merged else None
    write_trained(trained, model, merged=merged)
    tokenizer = tokenizers.load(trained.base_folder)
    for written in filter(None, (model, merged)):
        write_tokenizer(tokenizer, trained.base_folder, written, chats=stage.spec.task.type not in PLAIN_TEXTS)
        if trained.head.layer is None:  # and so it generates
            write_generation_config(tokenizer, trained.base_folder, written)
    return rendering_of(stage.storage, stage.spec, stage.prepared.data_uri, data, tokenizer, model)


def _upload(storage: Storage, folder: Path, manifest: Manifest, uri: str) -> None:
    def upload(file: ListedFile) -> None:
        storage.upload(folder / file.path, f"{uri}/{file.path}")

    with ThreadPoolExecutor(_FILES_AT_ONCE, "publish") as threads:
        for _ in threads.map(upload, manifest.files):
            pass
