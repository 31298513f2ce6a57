"""What a node needs on its disk before training: the base model and the prepared data, verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer import prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.model import resolve
from finetune_trainer.storage import Storage


@dataclass(frozen=True)
class Materials:
    """Folders on this node."""

    model: Path
    data: Path


def places(scratch: Path) -> Materials:
    """Where `fetch` puts them."""
    return Materials(model=scratch / "model", data=scratch / "data")


def fetch(model_uri: str, expected: Prepared, *, storage: Storage, scratch: Path) -> None:
    """Bring both here; one process a node does this. Raises StageFailed when they are not what was prepared."""
    model = resolve(storage, model_uri)
    if model.digest != expected.model_digest:
        raise _model_changed(model_uri)
    here = places(scratch)
    here.model.mkdir(parents=True, exist_ok=True)
    # No file but those that were checked: whatever else lies beside them, the libraries would read.
    for stored in model.files:
        path = here.model / model.name_of(stored)
        if stored.uri.startswith("file://"):
            path.unlink(missing_ok=True)
            path.symlink_to(Path(stored.uri.removeprefix("file://")).expanduser())
        elif storage.download(stored.uri, path).etag != stored.etag:
            raise _model_changed(model_uri)
    prepared.fetch(storage, expected.data_uri, expected.data_digest, here.data)


def _model_changed(uri: str) -> StageFailed:
    return StageFailed(
        ExitCode.MISMATCH,
        "ModelChanged",
        f"{uri} is no longer the model that was prepared for: put it back, or apply the job under a new name",
        field="spec.model.uri",
    )
