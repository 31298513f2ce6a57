"""The train stage of a job, as each of its ranks is given it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from finetune_api.contract import ExitCode
from finetune_api.result import Prepared, Resolved
from finetune_api.snapshot import Snapshot
from finetune_api.spec import Spec
from finetune_trainer import materials
from finetune_trainer.failures import StageFailed
from finetune_trainer.materials import Materials
from finetune_trainer.storage import Storage, open_storage


@dataclass(frozen=True, kw_only=True)
class TrainStage:
    """What is to be trained, where its parts are kept, and where there is room for them."""

    snapshot: Snapshot
    prepared: Prepared
    """Its Snapshot's: without it there is nothing to train on."""
    storage: Storage
    scratch: Path
    """Of this pod."""

    @classmethod
    def of(cls, snapshot: Snapshot, *, scratch: Path) -> Self:
        """Raises StageFailed where the prepare stage has not told its Result."""
        if snapshot.prepared is None:
            raise StageFailed(ExitCode.BAD_CONFIG, "NotPrepared", "a train stage needs the Result of its prepare stage")
        access = snapshot.spec.storage
        storage = open_storage(endpoint=access.endpoint, region=access.region)
        return cls(snapshot=snapshot, prepared=snapshot.prepared, storage=storage, scratch=scratch)

    @property
    def spec(self) -> Spec:
        return self.snapshot.spec

    @property
    def resolved(self) -> Resolved:
        """What the spec left open."""
        return self.prepared.resolved

    @property
    def materials(self) -> Materials:
        """Once they are brought."""
        return materials.places(self.scratch)
