"""Calls in worker processes: results in order, few of them waiting; a worker that dies ends all, none outlives us."""

from __future__ import annotations

import gc
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from finetune_trainer.signals import STOPPING

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R")

# One process imports what all need, and they share its memory. It has no threads yet: nothing of it was called. Of a
# script that is run by its path, each worker would otherwise import all that stands at its top again.
_CONTEXT: Final = get_context("forkserver")
_PRELOADED: Final = ["__main__", "finetune_trainer.prepare"]


class Call(Protocol[T_contra, R_co]):
    """What can be sent to another process, and called there with a task; it may tell how far it is."""

    def __call__(self, task: T_contra, told: Callable[[int], None], /) -> R_co: ...


class WorkerDied(Exception):
    """A worker ended in the middle of a task, without a word."""

    def __init__(self, number: int, how: str) -> None:
        """`number` is the task's, counted from 0."""
        super().__init__(how)
        self.number = number
        self.how = how


@dataclass(frozen=True)
class _Told:
    amount: int


@dataclass(frozen=True)
class _Returned:
    result: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


def get_ready(processes: int) -> None:
    """For Workers of so many: import what they need in the background, which takes most of a second."""
    if processes > 1:
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()


class Workers:
    """Processes that are started by the first call; where there is to be one only, calls are made in this one."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._started: dict[Connection, ForkServerProcess] = {}

    @property
    def alone(self) -> bool:
        """Whether calls are made in this process."""
        return self._processes == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.renew()

    def renew(self) -> None:
        """End those that were started, with what they hold in memory; the next call starts others, in no time."""
        for process in self._started.values():
            process.kill()
        for pipe in list(self._started):
            self._end(pipe)

    def _end(self, pipe: Connection) -> None:
        process = self._started.pop(pipe)
        process.kill()
        process.join()
        pipe.close()

    def map(
        self, call: Call[T, R], tasks: Sequence[T], *, told: Callable[[int], None], ahead: int | None = None
    ) -> Iterator[R]:
        """The result of each task, in their order; `told` hears what any call tells, as it comes.

        No more than `ahead` results wait in memory for an earlier one. Tasks begin in their order, so of several that
        raise it is always the first whose error is raised here. Raises WorkerDied, too.
        """
        if self.alone:
            for task in tasks:
                yield call(task, told)
            return
        self._start(min(self._processes, len(tasks)))
        for pipe in self._started:
            self._send(pipe, call, 0)
        busy: dict[Connection, int] = {}
        try:
            yield from self._results(tasks, told, len(tasks) if ahead is None else ahead, busy)
        finally:
            for pipe in busy:  # nobody wants what it would say
                self._end(pipe)

    def _results(
        self, tasks: Sequence[T], told: Callable[[int], None], ahead: int, busy: dict[Connection, int]
    ) -> Iterator[Any]:
        idle = list(self._started)
        found: dict[int, _Returned | _Raised] = {}
        begun = 0
        for wanted in range(len(tasks)):
            while True:
                may_begin = not any(isinstance(one, _Raised) for one in found.values())
                while idle and may_begin and begun < len(tasks) and begun - wanted <= ahead:
                    pipe = idle.pop()
                    self._send(pipe, (begun, tasks[begun]), begun)
                    busy[pipe] = begun
                    begun += 1
                if wanted in found:
                    break
                for pipe, message in self._heard(busy):
                    if isinstance(message, _Told):
                        told(message.amount)
                    else:
                        found[busy.pop(pipe)] = message
                        idle.append(pipe)
            answer = found.pop(wanted)
            if isinstance(answer, _Raised):
                raise answer.error
            yield answer.result

    def _start(self, number: int) -> None:
        get_ready(self._processes)
        while len(self._started) < number:
            ours, theirs = _CONTEXT.Pipe()
            self._started[ours] = _CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
            self._started[ours].start()
            theirs.close()  # ours is then at its end when the worker is

    def _send(self, pipe: Connection, message: object, number: int) -> None:
        try:
            pipe.send(message)
        except OSError:
            raise self._dead(pipe, number) from None

    def _heard(self, busy: Mapping[Connection, int]) -> Iterator[tuple[Connection, _Told | _Returned | _Raised]]:
        """At least one message. What a worker said before it died comes before the end of its pipe."""
        for pipe in [pipe for pipe in connection.wait(list(busy)) if isinstance(pipe, Connection)]:
            try:
                yield pipe, pipe.recv()
            except (EOFError, OSError):
                raise self._dead(pipe, busy[pipe]) from None

    def _dead(self, pipe: Connection, number: int) -> WorkerDied:
        process = self._started[pipe]
        process.join()
        code = process.exitcode or 0
        return WorkerDied(
            number, f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )


def _work(pipe: Connection) -> None:
    """The life of a worker: it is sent a call, then tasks for it and their numbers, then perhaps another call."""
    for number in STOPPING:  # a whole group may be told; our parent decides what it means
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()  # what was imported stays; to look through it again and again would copy the pages that are shared
    call: Any = None

    def tell(amount: int) -> None:
        pipe.send(_Told(amount))

    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if not isinstance(message, tuple):
            call = message
            continue
        answer: _Returned | _Raised
        try:
            answer = _Returned(call(message[1], tell))
        except Exception as error:  # noqa: BLE001 whatever it is, it is raised in the parent
            answer = _Raised(_sendable(error))
        pipe.send(answer)


def _end_with_parent() -> None:
    """A killed parent can stop nobody."""
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error, with its stack trace as a note; in other words where it could not be read from a pipe."""
    trace = traceback.format_exc()
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 its own constructor runs
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker process:\n{trace}")
    return error
