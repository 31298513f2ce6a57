"""The first process of a training pod: starts a process per GPU, watches over them and has the last word. No torch."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finetune_api.contract import ExitCode, Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Failure, Result
from finetune_api.snapshot import Snapshot
from finetune_trainer.cores import own_cores
from finetune_trainer.failures import StageFailed
from finetune_trainer.last_words import last_words
from finetune_trainer.pod import Pod
from finetune_trainer.progress import ProgressFile, serving
from finetune_trainer.ranks import Ended, rank_environ, rank_folder, ranks_per_pod, verdict
from finetune_trainer.rendezvous import current_address, wait_for_address
from finetune_trainer.signals import STOPPING
from finetune_trainer.watchdog import Watchdog

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_SURVIVOR_SECONDS = 5.0
"""For a rank to notice that another has ended, and to say what it has to say."""
_STARTING_SECONDS = 5.0
"""For a rank that has nothing to save yet to hear that it is to stop."""
_STACK_SECONDS = 1.0
"""For a rank that hangs to print where."""


class RankProcess(Protocol):
    """As subprocess.Popen."""

    def poll(self) -> int | None: ...

    def send_signal(self, signal: int, /) -> None: ...

    def wait(self) -> int: ...


StartRank = Callable[[Mapping[str, str]], RankProcess]
"""Start a rank with this environment."""


def start_rank(environ: Mapping[str, str]) -> RankProcess:
    """A process of its own, in the pod's process group."""
    return subprocess.Popen([sys.executable, "-m", "finetune_trainer.rank"], env=dict(environ))


@dataclass
class _Rank:
    local_rank: int
    process: RankProcess
    progress: ProgressFile
    result: Path
    watchdog: Watchdog
    code: int | None = None

    @property
    def is_starting(self) -> bool:
        heard = self.progress.heard()
        return heard is None or heard[0].activity is Activity.STARTING

    def last_words(self) -> Result | None:
        return Result.model_validate_json(self.result.read_bytes()) if self.result.exists() else None


@dataclass
class _Stop:
    """Whether the pod was told to end."""

    asked: bool = False
    forwarded_at: float | None = None


def launch(
    pod: Pod,
    snapshot: Snapshot,
    *,
    environ: Mapping[str, str],
    start: StartRank = start_rank,
    watch: Callable[[float], Watchdog] = Watchdog,
) -> int:
    """Run this pod's ranks to their end, write the pod's Result, return its exit code."""
    with _noticing_stop() as stop:
        try:
            code, result = _run(pod, snapshot, environ=environ, start=start, watch=watch, stop=stop)
        except Exception as error:  # noqa: BLE001 the pod's end needs words, whatever it was
            code, result = last_words(error, stage=Stage.TRAIN, attempt=snapshot.attempt)
        pod.result.write_bytes(result.encode())
    return code


def _run(
    pod: Pod,
    snapshot: Snapshot,
    *,
    environ: Mapping[str, str],
    start: StartRank,
    watch: Callable[[float], Watchdog],
    stop: _Stop,
) -> tuple[int, Result]:
    workers = snapshot.spec.workers

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if stop.asked:
            raise _stopped_early()

    address = wait_for_address(
        pod.rendezvous_host,
        pod.hosts,
        lookup=lambda name: current_address(name, pod.rendezvous_port, is_own=pod.node_rank == 0),
        clock=time.monotonic,
        sleep=sleep,
    )
    shutil.rmtree(rank_folder(pod.scratch, 0).parent, ignore_errors=True)
    # Of a node that others train on as well: two threads for each core cost more than half of the speed.
    num_cores = own_cores(pod.cores)
    ranks: list[_Rank] = []
    try:
        for local_rank in range(ranks_per_pod(workers)):
            own = rank_environ(pod, workers, local_rank, address=address, num_cores=num_cores)
            folder = rank_folder(pod.scratch, local_rank)
            ranks.append(
                _Rank(
                    local_rank,
                    progress=ProgressFile(folder / "progress.json"),
                    result=folder / "result.json",
                    watchdog=watch(time.monotonic()),
                    process=start({**environ, **own}),
                )
            )
        with serving(lambda: _latest(ranks[0]), port=pod.progress_port, loopback=bool(pod.hosts)):
            complaint = _supervise(ranks, stop)
    finally:
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(signal.SIGKILL)
                rank.process.wait()
    step = heard[0].checkpoint_step if (heard := ranks[0].progress.heard()) else None
    if complaint is not None:
        failure = Failure(reason="Watchdog", message=complaint)
        return ExitCode.RETRY, Result(
            stage=Stage.TRAIN, attempt=snapshot.attempt, failure=failure, checkpoint_step=step
        )
    finished = [Ended(rank.local_rank, rank.code, rank.last_words()) for rank in ranks if rank.code is not None]
    return verdict(finished, attempt=snapshot.attempt, checkpoint_step=step)


def _supervise(ranks: list[_Rank], stop: _Stop) -> str | None:
    """Until all have ended, or one has failed and the others had time to say so; or why they must be ended."""
    failed_at: float | None = None
    while any(rank.code is None for rank in ranks):
        time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        if stop.asked and stop.forwarded_at is None:
            stop.forwarded_at = now
            _signal(ranks, signal.SIGTERM)
        for rank in ranks:
            rank.code = rank.process.poll()
            if rank.code not in (None, ExitCode.DONE):
                failed_at = failed_at or now
            elif rank.code is None and (heard := rank.progress.heard()):
                rank.watchdog.heard(*heard, now)
        if failed_at is not None and now - failed_at > _SURVIVOR_SECONDS:
            return None
        running = [rank for rank in ranks if rank.code is None]
        in_vain = stop.forwarded_at is not None and now - stop.forwarded_at > _STARTING_SECONDS
        if in_vain and running and all(rank.is_starting for rank in running):
            # Measured: a rank that waits for its peers inside PyTorch's rendezvous hears no signal for minutes.
            raise _stopped_early()
        for rank in running:
            if complaint := rank.watchdog.complaint(now):
                _signal(ranks, signal.SIGUSR1)
                time.sleep(_STACK_SECONDS)
                return f"local rank {rank.local_rank}: {complaint}"
    return None


def _stopped_early() -> StageFailed:
    return StageFailed(ExitCode.STOPPED, "Stopped", "told to stop before training began")


def _signal(ranks: list[_Rank], number: int) -> None:
    for rank in ranks:
        if rank.code is None:
            rank.process.send_signal(number)


def _latest(rank: _Rank) -> Progress | None:
    heard = rank.progress.heard()
    return heard[0] if heard else None


@contextmanager
def _noticing_stop() -> Iterator[_Stop]:
    stop = _Stop()

    def notice(*_: object) -> None:
        stop.asked = True

    before = {number: signal.signal(number, notice) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
