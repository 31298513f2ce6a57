"""Requests to a store, tried again while that can help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from finetune_trainer.storage.objects import StorageError, StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a store may fail to answer. botocore's own retries end after 4 s of 503."""

    seconds: float = 600
    """For one request, of a store that has answered before."""
    first_seconds: float = 30
    """For the first answer: a wrong endpoint should be told within a minute."""
    longest_pause: float = 20
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    """In [0, 1): full jitter keeps the ranks of a gang from retrying in step."""


class Trouble(Enum):
    """Why the same request may succeed later."""

    BUSY = auto()
    """The store has answered, and is overloaded or was interrupted."""
    SILENT = auto()
    """There was no answer, or none of the store's."""
    EXPIRED = auto()
    """Keys that are renewed by themselves are by the next request; those of a Secret are in the next attempt's pods."""


def of_length(content: bytes, length: int) -> bytes:
    """What a request for so many bytes was answered with. Raises OSError, for which it is tried again, for less."""
    if len(content) != length:
        raise OSError(f"{len(content)} bytes came, {length} were asked for")
    return content


Judge = Callable[[str, Exception], "StorageError | Trouble | None"]
"""What a request for a uri that raised this came to: the store's final word, trouble, or None for an error of ours."""


class Calls:
    """Runs requests against one endpoint; safe in threads."""

    def __init__(self, endpoint: str, judge: Judge, patience: Patience) -> None:
        """`endpoint` is how messages name it."""
        self._endpoint = endpoint
        self._judge = judge
        self._patience = patience
        self._has_answered = False

    def run(self, uri: str, request: Callable[[], T]) -> T:
        """The answer to `request`, tried again while that can help and patience lasts.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, StorageError: the store's final word.
            StoreUnavailable: patience ended.
        """
        patience = self._patience
        started = patience.clock()
        tries = 0
        while True:
            tries += 1
            try:
                answer = request()
                self._has_answered = True
                return answer
            except Exception as error:
                verdict = self._judge(uri, error)
                if verdict is None:
                    raise
                self._has_answered |= verdict is not Trouble.SILENT
                if isinstance(verdict, StorageError):
                    raise verdict from error
                last = error
            pause = patience.jitter() * min(patience.longest_pause, 0.2 * 2**tries)
            hopeful = self._has_answered and verdict is not Trouble.EXPIRED
            limit = patience.seconds if hopeful else patience.first_seconds
            if patience.clock() + pause - started > limit:
                raise StoreUnavailable(
                    f"{uri}: no usable answer from {self._endpoint} in {limit:.0f} s: {last}"
                ) from last
            patience.sleep(pause)
