"""A run of Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import wandb

from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer.tracking import parameters, run_name

PROJECT: Final = "finetune"


class WandB:
    """Goes on under the same id, the digest of the run."""

    def __init__(self, snapshot: Snapshot, prepared: Prepared, folder: str) -> None:
        tracking = snapshot.spec.tracking
        self._run = wandb.init(
            project=tracking.project or PROJECT,
            id=prepared.run,
            name=run_name(snapshot),
            resume="allow",
            config=parameters(snapshot, prepared),
            dir=folder,
            settings=wandb.Settings(
                **({"base_url": tracking.uri} if tracking.uri else {}),
                console="off",
                disable_git=True,
                save_code=False,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def send(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()
