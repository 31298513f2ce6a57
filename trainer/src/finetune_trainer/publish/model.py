"""The finished model and its reports: written as files, uploaded, and made to count."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from finetune_api.result import Prepared, Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.commit import Run
from finetune_trainer.history import History
from finetune_trainer.publication import MERGED, Manifest, commit, publication_folder
from finetune_trainer.publish.reports import write_reports
from finetune_trainer.publish.tokenizer import write_tokenizer
from finetune_trainer.publish.weights import Trained, write_trained
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import PLAIN_TEXTS
from finetune_trainer.telemetry import Telemetry
from finetune_trainer.verified import files_under


def publish(
    storage: Storage,
    run: Run | None,
    trained: Trained,
    *,
    snapshot: Snapshot,
    prepared: Prepared,
    history: History,
    telemetry: Telemetry,
    scratch: Path,
) -> Published | None:
    """Write the trained weights and their reports, upload them, and make them count. Collective.

    Args:
        run: rank 0's, which writes; None on the others, which give their part of the weights and return None.
        scratch: a folder for the files on their way.

    Raises Fenced, StoreUnavailable or AccessDenied; the same publication may then be tried again by the next start.
    """
    if run is None:
        write_trained(trained, None)
        return None
    shutil.rmtree(scratch, ignore_errors=True)
    folders = [scratch / "model"]
    if snapshot.spec.publishes_merged:
        folders.append(scratch / MERGED)
    try:
        write_trained(trained, folders[0], merged=folders[1] if len(folders) > 1 else None)
        for folder in folders:
            write_tokenizer(trained.base_folder, folder, chats=snapshot.spec.task.type not in PLAIN_TEXTS)
        write_reports(scratch, snapshot, prepared, history, telemetry)
        manifest = Manifest(
            run=prepared.run,
            step=history.published_step,
            epoch=run.epoch,
            base_model_uri=snapshot.spec.model.uri,
            base_model_digest=prepared.model_digest,
            data_uri=prepared.data_uri,
            data_digest=prepared.data_digest,
            metrics=history.metrics,
            files=files_under(scratch),
        )
        folder_uri = f"{run.uri}/{publication_folder(run.epoch)}"
        with ThreadPoolExecutor(4, "publish") as threads:
            list(
                threads.map(
                    lambda file: storage.upload(scratch / file.path, f"{folder_uri}/{file.path}"), manifest.files
                )
            )
        return commit(storage, run, snapshot.spec.output.uri, manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
