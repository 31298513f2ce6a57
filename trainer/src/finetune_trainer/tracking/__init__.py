"""Sends what a run measures to `spec.tracking`, beside the run: a tracker that is slow or away costs it nothing."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from finetune_api.progress import Progress
from finetune_api.result import Metrics, Prepared
from finetune_api.snapshot import Snapshot
from finetune_api.spec import TrackingType

MOST_WAITING: Final = 1000
"""Steps that wait to be sent; what comes on top is let go."""
FAREWELL_SECONDS: Final = 30.0
"""For what still waits when the run ends."""

_CURVES: Final = ("loss", "validation_loss", "learning_rate", "gradient_norm", "tokens_per_second", "mfu", "epoch")

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """One run of a tracker, opened again under the same name by every attempt. Any method may raise, or be slow."""

    def send(self, step: int, values: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


class Tracking:
    """Opens a tracker and sends to it, all in a thread of its own. Ends with its first error, which is logged."""

    def __init__(self, open_tracker: Callable[[], Tracker]) -> None:
        self._open = open_tracker
        self._waiting: queue.Queue[tuple[int, dict[str, float]] | None] = queue.Queue(MOST_WAITING)
        self._step: int | None = None
        self._is_finished = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def __call__(self, progress: Progress) -> None:
        """Send the curves of a step that has not been sent yet."""
        if progress.step is None or progress.loss is None or progress.step == self._step:
            return
        self._step = progress.step
        values = {name: getattr(progress, name) for name in _CURVES}
        self._put(progress.step, {name: value for name, value in values.items() if value is not None})

    def finish(self, step: int, metrics: Metrics) -> None:
        """Send the measurements of the finished model, and wait a little for all that is under way."""
        self._put(step, {name: value for name, value in metrics.model_dump().items() if value is not None})
        self._is_finished = True
        self.close(within=FAREWELL_SECONDS)

    def close(self, *, within: float) -> None:
        """Wait so many seconds for what is under way. Without `finish` the run stays open: an attempt may follow."""
        if self._is_closed:
            return
        self._is_closed = True
        end = time.monotonic() + within
        with suppress(queue.Full):
            self._waiting.put(None, timeout=within)
        self._thread.join(max(0.0, end - time.monotonic()))

    def _put(self, step: int, values: dict[str, float]) -> None:
        if values and self._thread.is_alive():
            try:
                self._waiting.put_nowait((step, values))
            except queue.Full:
                log.warning("the tracker is too slow: step %d is not sent", step)

    def _work(self) -> None:
        try:
            tracker = self._open()
            while (found := self._waiting.get()) is not None:
                tracker.send(*found)
            if self._is_finished:
                tracker.finish()
        except Exception as error:  # noqa: BLE001 whatever a tracker raises, the run goes on
            # The class alone: what a client says may hold the key that it was refused with.
            log.warning("nothing more is sent to spec.tracking: %s", type(error).__name__)


def open_tracking(snapshot: Snapshot, prepared: Prepared, folder: str) -> Tracking | None:
    """To the tracker of the spec, None where there is none. `folder` is for what its client writes."""
    match snapshot.spec.tracking.type:
        case TrackingType.NONE:
            return None
        case TrackingType.MLFLOW:

            def open_mlflow() -> Tracker:
                from finetune_trainer.tracking.to_mlflow import MLflow

                return MLflow(snapshot, prepared)

            return Tracking(open_mlflow)
        case TrackingType.WANDB:

            def open_wandb() -> Tracker:
                from finetune_trainer.tracking.to_wandb import WandB

                return WandB(snapshot, prepared, folder)

            return Tracking(open_wandb)


def run_name(snapshot: Snapshot) -> str:
    """As people find the run in the tracker."""
    return f"{snapshot.namespace}/{snapshot.name}"


def parameters(snapshot: Snapshot, prepared: Prepared) -> dict[str, str]:
    """All that decides the outcome, flat: `training.epochs` = `3`."""
    spec = snapshot.spec.to_json()
    chosen = {name: spec.get(name, {}) for name in ("model", "task", "method", "training")}
    found = {**_flat(chosen), **_flat({"resolved": prepared.resolved.to_json()})}
    return {**found, "run": prepared.run, "dataDigest": prepared.data_digest, "modelDigest": prepared.model_digest}


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, member in value.items():
        if isinstance(member, Mapping):
            flat |= _flat(member, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(member)[:500]
    return flat
