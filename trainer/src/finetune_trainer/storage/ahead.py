"""An object read from start to end, its next parts fetched while the last one is worked on."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from queue import Queue
from typing import Any, BinaryIO, Final

PART_BYTES: Final = 8 << 20
PARTS_AHEAD: Final = 2
"""Beside them one is on its way and one being read: four in memory at most."""
_READ_BYTES: Final = 1 << 20


def read_ahead(size: int, fetch: Callable[[int, int], bytes], *, part_bytes: int = PART_BYTES) -> BinaryIO:
    """A stream of `size` bytes, of which `fetch(start, stop)` gives those in [start, stop).

    What `fetch` raises is raised by the read that needs its bytes. Parts come in order, from one thread, which waits
    once PARTS_AHEAD of them are not yet read; there is none for an object of one part.
    """
    return io.BufferedReader(_Parts(size, fetch, part_bytes), _READ_BYTES)


class _Parts(io.RawIOBase):
    def __init__(self, size: int, fetch: Callable[[int, int], bytes], part_bytes: int) -> None:
        self._size = size
        self._fetch = fetch
        self._part_bytes = part_bytes
        self._position = 0
        self._part = memoryview(b"")
        self._coming: Queue[bytes | BaseException] = Queue(PARTS_AHEAD)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part and self._position < self._size:
            self._part = memoryview(self._next())
        num_read = min(len(buffer), len(self._part))
        buffer[:num_read] = self._part[:num_read]
        self._part = self._part[num_read:]
        self._position += num_read
        return num_read

    def _next(self) -> bytes:
        if self._size <= self._part_bytes:
            return self._fetch(0, self._size)
        if self._thread is None:
            # A daemon: a process that is told to end does not wait for a store that does not answer.
            self._thread = threading.Thread(target=self._fetch_all, name="read-ahead", daemon=True)
            self._thread.start()
        part = self._error or self._coming.get()
        if isinstance(part, BaseException):
            self._error = part
            raise part
        return part

    def _fetch_all(self) -> None:
        for start in range(0, self._size, self._part_bytes):
            try:
                part: bytes | BaseException = self._fetch(start, min(start + self._part_bytes, self._size))
            except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
                part = error
            self._coming.put(part)
            if self.closed or isinstance(part, BaseException):
                return

    def close(self) -> None:
        super().close()
        # A thread that waits for a place gets one, sees that nobody reads, and ends.
        while not self._coming.empty():
            self._coming.get_nowait()
