"""SIGTERM and SIGINT in a rank: an end at once, or, once it trains, a note for the whole gang to agree on."""

from __future__ import annotations

import signal

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import Gang
from finetune_trainer.signals import STOPPING


class StopSignal:
    """Before `note` a signal raises SystemExit(STOPPED), wherever the main thread is."""

    def __init__(self) -> None:
        self.asked = False
        self._noted = False

    def install(self) -> None:
        for number in STOPPING:
            signal.signal(number, self._receive)

    def note(self) -> None:
        """From now on a signal only sets `asked`."""
        self._noted = True

    def _receive(self, *_: object) -> None:
        self.asked = True
        if not self._noted:
            raise SystemExit(ExitCode.STOPPED)


def leave_if_stopping(gang: Gang, stop: StopSignal, step: int) -> None:
    """Raises StageFailed `Stopped` when every rank was told to stop. Collective, at a `step` that is saved.

    One rank alone goes on: if its pod is gone before the end, the others could not have kept it.
    """
    if gang.sum([stop.asked])[0] == gang.world_size:
        raise stopped(gang, step)


def stopped(gang: Gang, step: int) -> StageFailed:
    """The end of a gang that has agreed on it: returns when no rank needs another any more. Collective."""
    gang.leave()
    return StageFailed(ExitCode.STOPPED, "Stopped", f"told to stop; step {step} is saved")
