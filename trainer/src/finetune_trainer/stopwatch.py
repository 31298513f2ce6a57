"""How long a device computes, without waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Adds up stretches of work on one device."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._on_gpu = device.type == "cuda"
        self._clock = clock
        self._seconds = 0.0
        self._events: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Of a GPU what is queued within counts, when it is done."""
        if self._on_gpu:
            event: Any = torch.cuda.Event
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            began = self._clock()
            yield
            self._seconds += self._clock() - began

    def read(self) -> float:
        """Seconds so far; what was queued must be done, as it is once a result of it has been read."""
        milliseconds = sum(start.elapsed_time(end) for start, end in self._events)
        return self._seconds + float(milliseconds) / 1000
