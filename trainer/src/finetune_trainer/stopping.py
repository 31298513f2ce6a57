"""SIGTERM and SIGINT in a rank: an end at once, or, while it trains, a note for the whole gang to agree on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from finetune_api.contract import ExitCode


class StopSignal:
    """Outside `noted` a signal raises SystemExit(STOPPED), wherever the main thread is."""

    def __init__(self) -> None:
        self.asked = False
        self._noted = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Where a signal only sets `asked`."""
        self._noted = True
        try:
            yield
        finally:
            self._noted = False

    def _receive(self, *_: object) -> None:
        self.asked = True
        if not self._noted:
            raise SystemExit(ExitCode.STOPPED)
