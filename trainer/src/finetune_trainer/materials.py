"""What a node needs on its disk before training: the base model and the prepared data, verified."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer import prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.model import resolve
from finetune_trainer.prepare.model.files import FIELD, find_files
from finetune_trainer.storage import Storage, open_storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Materials:
    """Folders on this node."""

    model: Path
    data: Path


def places(scratch: Path) -> Materials:
    """Where `fetch` puts them."""
    return Materials(model=scratch / "model", data=scratch / "data")


def fetch(model_uri: str, expected: Prepared, *, storage: Storage, scratch: Path) -> None:
    """Bring both here; one process a node does this. Raises StageFailed when they are not what was prepared.

    A model is brought twice before it is said to be another one, for the wire may be at fault.
    """
    here = places(scratch)
    for _ in range(2):
        _bring_model(storage, model_uri, here.model)
        if _digest(here.model) == expected.model_digest:
            break
    else:
        raise StageFailed(
            ExitCode.MISMATCH,
            "ModelChanged",
            f"{model_uri} is no longer the model that was prepared for: put it back, or apply the job under a new name",
            field=FIELD,
        )
    prepared.fetch(storage, expected.data_uri, expected.data_digest, here.data)


def _bring_model(storage: Storage, uri: str, folder: Path) -> None:
    """No file but those that are checked: whatever else lies beside them, the libraries would read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = find_files(storage, uri)
    with blame(FIELD):
        for stored in files.every:
            path = folder / files.name_of(stored)
            if stored.uri.startswith("file://"):
                path.symlink_to(Path(stored.uri.removeprefix("file://")).expanduser())
            else:
                storage.download(stored.uri, path)


def _digest(folder: Path) -> str | None:
    """Of the model as it lies here; None when it is none."""
    try:
        return resolve(open_storage(), f"file://{folder}").digest
    except StageFailed as failed:
        log.warning("what was brought is no model: %s", failed)
        return None
