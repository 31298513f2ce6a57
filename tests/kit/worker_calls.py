"""Calls for worker processes, which find them by the name of their module."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import KeysRefused, StoreUnavailable


def double(number: int, told: Callable[[int], None]) -> int:
    """The later ones are the sooner done."""
    time.sleep(0.05 / (1 + number))
    told(number)
    return 2 * number


def large(number: int, _told: object) -> bytes:
    """More than any pipe holds."""
    return bytes([number]) * (1 << 22)


def fail_where_negative(number: int, _told: object) -> int:
    time.sleep(0.2 if number == -1 else 0)
    if number < 0:
        raise StageFailed(
            ExitCode.MISMATCH, "DataCorrupt", f"{number} is bad", field="spec.data", places=("a:1", "b:2")
        )
    return number


ERRORS = (
    StageFailed(ExitCode.RETRY, "DataChanged", "x" * 2000),
    StoreUnavailable("s3://bucket/a: no usable answer"),
    KeysRefused("s3://bucket/a: the store refuses the keys"),
    OSError(errno.ENOSPC, "No space left on device"),
)


def raise_error(number: int, _told: object) -> None:
    raise ERRORS[number]


class Unsendable(Exception):
    """Cannot be made from its message alone."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def raise_unsendable(_task: int, _told: object) -> None:
    raise Unsendable("this", "that")


def end_itself(how: int, _told: object) -> None:
    """A signal's number, or an exit code below 0."""
    if how < 0:
        os._exit(-how)
    os.kill(os.getpid(), how)
    signal.pause()


def write_pid(folder: Path, told: Callable[[int], None]) -> None:
    """And stay."""
    (folder / str(os.getpid())).touch()
    told(os.getpid())
    time.sleep(600)


def of_group(_task: int, told: Callable[[int], None]) -> str:
    """What a terminal's Ctrl-C and a container's end do to all of a group."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    time.sleep(0.05)
    return "still there"
