"""Whether the scratch volume can take what is about to be written."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang


def need_room(folder: Path, size: int) -> None:
    """Make `folder`, and raise StageFailed when its volume has less than `size` bytes left.

    Retriable: a node's disk is shared, and the next attempt may run on another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StageFailed(
            ExitCode.RETRY,
            "ScratchFull",
            f"{size:,} bytes are needed on the scratch volume and {free:,} are free",
            field="spec.workers.resources.scratch",
        )


def need_room_together(gang: Gang, folder: Path, size: int) -> None:
    """As `need_room`, for what all ranks that share this volume write at the same time. Collective."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = f"{socket.gethostname()}:{folder.stat().st_dev}"
    asked = gang.gather([volume, size])
    need_room(folder, sum(own for place, own in asked if place == volume))
