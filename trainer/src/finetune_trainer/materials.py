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

_FILE = "file://"


@dataclass(frozen=True)
class Materials:
    """Folders on this node."""

    model: Path
    data: Path


def places(model_uri: str, scratch: Path) -> Materials:
    """Where `fetch` puts them; a model that is a folder of this machine is used where it lies."""
    in_place = Path(model_uri.removeprefix(_FILE)).expanduser()
    return Materials(in_place if model_uri.startswith(_FILE) else scratch / "model", scratch / "data")


def fetch(model_uri: str, expected: Prepared, *, storage: Storage, scratch: Path) -> None:
    """Bring both here; one process a node does this. Raises StageFailed when they are not what was prepared."""
    model = resolve(storage, model_uri)
    if model.digest != expected.model_digest:
        raise StageFailed(
            ExitCode.MISMATCH,
            "ModelChanged",
            f"{model_uri} is no longer the model that was prepared for: put it back, or apply the job under a new name",
            field="spec.model.uri",
        )
    here = places(model_uri, scratch)
    if not model_uri.startswith(_FILE):
        for stored in model.files:
            storage.download(stored.uri, here.model / model.name_of(stored))
    prepared.fetch(storage, expected.data_uri, expected.data_digest, here.data)
