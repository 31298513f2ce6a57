"""The gang's side of checkpoints: a copy that training waits for, everything else in the background, and the way back.

training thread    save: host copy ┐                                    poll, finish: raise what went wrong
background thread                  └ shard → storage → gather → rank 0 commits → broadcast
"""

from __future__ import annotations

import logging
import shutil
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.commit import Run, read_manifest
from finetune_trainer.checkpoint.intervals import Copy, NotCovered, copies, shared_out
from finetune_trainer.checkpoint.layout import Entry, Head, Manifest, Piece, Shard, Skipped, shard_key
from finetune_trainer.checkpoint.room import need_room_together
from finetune_trainer.checkpoint.shards import (
    HostCopy,
    begin_anew,
    optimizer_step_of,
    partition_of,
    read_shards,
    restore,
    write_shard,
)
from finetune_trainer.failures import StageFailed
from finetune_trainer.gang import TIMEOUT, Gang
from finetune_trainer.storage import Storage
from finetune_trainer.verified import Damaged, download_verified, sha256_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Snapshot:
    """What the background thread needs of one save."""

    step: int
    state: Mapping[str, Any]
    best_step: int | None
    optimizer_step: int
    pieces: tuple[Piece, ...]
    tensors: Mapping[str, torch.Tensor]


class Checkpointer:
    """Saves and restores one engine. Every public method but `poll` and the properties is collective."""

    def __init__(
        self, engine: Any, gang: Gang, storage: Storage, run: Run | None, *, scratch: Path, keep_last: int
    ) -> None:
        """`run` is rank 0's, as `open_run` gave it; None on the others."""
        self._engine = engine
        self._gang = gang
        self._storage = storage
        self._run = run
        self._scratch = scratch
        self._keep_last = keep_last
        self._uri: str = gang.broadcast(None if run is None else run.uri)
        self._hear_of_head()
        # Collectives of two threads may not meet in one group.
        background = dist.new_group(backend="gloo", timeout=TIMEOUT)
        if not isinstance(background, dist.ProcessGroup):
            raise RuntimeError("this rank is not in its own gang")
        self._background = replace(gang, group=background)
        self._host = HostCopy()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._committed_step: int | None = None

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Steps that are never to be taken."""
        return self._head.skipped

    @property
    def committed_step(self) -> int | None:
        """Of the newest checkpoint that exists."""
        return self._committed_step

    @property
    def busy(self) -> bool:
        """Whether the last save is still under way: another would wait for it."""
        return self._thread is not None and self._thread.is_alive()

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """Restore the newest checkpoint that is whole: its step and state; None when there is none.

        Raises:
            StageFailed: `CheckpointsCorrupt`, two in a row are damaged; `CheckpointMismatch`, it is of another model.
            StoreUnavailable, AccessDenied: as the storage.
        """
        corrupt: list[Entry] = []
        found = None
        for entry in reversed(self._head.checkpoints):
            found = self._load_one(entry)
            if found is not None:
                break
            corrupt.append(entry)
            if len(corrupt) == 2:
                raise self._corrupt(f"the checkpoints of steps {corrupt[1].step} and {corrupt[0].step} are")
        if corrupt and self._run is not None:
            self._run.forget(tuple(corrupt))
        if found is None:
            return None
        log.info("resumed from step %d, saved under epoch %d", found.step, found.epoch)
        self._committed_step = found.step
        return found.step, found.state

    def roll_back(self, suspects: range, reason: str) -> tuple[int, dict[str, Any]]:
        """Restore the newest checkpoint from before these steps, which are never taken again: its step and state.

        Raises as `load`, and Fenced.
        """
        self.finish()
        if self._run is not None:
            self._run.skip(suspects, reason)
        self._hear_of_head()
        found = self.load()
        if found is None:
            raise self._corrupt(f"all checkpoints from before step {suspects.start} are")
        return found

    def restore(self, step: int) -> None:
        """Put back what was saved with `step` as its own best step. Raises as `load`."""
        self.finish()
        self._hear_of_head()
        entry = next((entry for entry in self._head.checkpoints if entry.step == step), None)
        if entry is None or self._load_one(entry) is None:
            raise self._corrupt(f"the checkpoint of step {step}, the best, is")

    def save(self, step: int, state: Mapping[str, Any], *, best_step: int | None = None) -> None:
        """Checkpoint the engine as it stands after optimizer step `step` ≥ 0, with JSON `state` (rank 0's counts).

        That of `best_step` is kept as long as this one, to be restored at the end.
        Returns when the state is copied to host memory; where the save before is not done yet, it waits for that first.
        """
        self.finish()
        partition = partition_of(self._engine)
        # Before the first step all is as it was made, of the base model and the seed: that need not be kept.
        tensors = self._host.take(partition) if partition.has_stepped else {}
        snapshot = _Snapshot(step, state, best_step, optimizer_step_of(partition), partition.pieces, tensors)
        self._thread = threading.Thread(target=self._store, args=(snapshot,), name="checkpoint", daemon=True)
        self._thread.start()

    def poll(self) -> None:
        """Raise what went wrong in the background: Fenced, StoreUnavailable, AccessDenied, a lost peer. Cheap."""
        if self._error is not None:
            raise self._error
        if self._run is not None:
            self._run.check()

    def finish(self) -> None:
        """Wait until the last save counts. Raises as `poll`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.poll()

    def _hear_of_head(self) -> None:
        self._head = Head.parse(self._gang.broadcast(None if self._run is None else self._run.head.to_json()))

    def _corrupt(self, what: str) -> StageFailed:
        return StageFailed(
            ExitCode.CHECKPOINTS_CORRUPT,
            "CheckpointsCorrupt",
            f"{what} damaged: look for the cause in the store, then delete {self._uri} to train anew",
        )

    def _store(self, snapshot: _Snapshot) -> None:
        try:
            self._store_and_commit(snapshot)
            self._committed_step = snapshot.step
        except BaseException as error:  # noqa: BLE001 - handed to the training thread by poll
            self._error = error

    def _store_and_commit(self, snapshot: _Snapshot) -> None:
        own_error: Exception | None = None
        report: dict[str, Any]
        try:
            shard = self._upload(snapshot).to_json() if snapshot.tensors else None
            report = {"shard": shard, "optimizerStep": snapshot.optimizer_step}
        except Exception as error:  # noqa: BLE001 - the others wait in the gather and must hear of it
            own_error = error
            report = {"error": f"rank {self._gang.rank}: {error}"}
        reports = self._background.gather(report)
        outcome = next((report["error"] for report in reports if "error" in report), None)
        if outcome is None and self._run is not None:
            try:
                manifest = _manifest(snapshot, self._head.epoch, reports)
                self._run.commit(manifest, keep_last=self._keep_last, best_step=snapshot.best_step)
            except Exception as error:  # noqa: BLE001 - as above
                own_error, outcome = error, f"rank 0: {error}"
        outcome = self._background.broadcast(outcome)
        if own_error is not None:
            raise own_error
        if outcome is not None:
            raise StageFailed(ExitCode.RETRY, "CheckpointFailed", f"step {snapshot.step} was not saved: {outcome}")

    def _upload(self, snapshot: _Snapshot) -> Shard:
        key = shard_key(snapshot.step, self._head.epoch, self._gang.rank)
        path = self._scratch / f"save-{self._gang.rank}.safetensors"
        need_room_together(self._background, self._scratch, sum(tensor.nbytes for tensor in snapshot.tensors.values()))
        try:
            write_shard(path, snapshot.tensors)
            digest = sha256_of(path)
            size = path.stat().st_size
            self._storage.upload(path, f"{self._uri}/{key}")
        finally:
            path.unlink(missing_ok=True)
        stored = self._storage.stat(f"{self._uri}/{key}")
        if stored is None or stored.size != size:
            raise StageFailed(ExitCode.RETRY, "ShardLost", f"{self._uri}/{key} is not in the store as it was written")
        return Shard(key=key, size=size, sha256=digest, pieces=snapshot.pieces)

    def _load_one(self, entry: Entry) -> Manifest | None:
        """Restore this checkpoint on all ranks, or on none: every byte is verified before one is used anywhere."""
        manifest = self._read_manifest(entry)
        if manifest is None:
            return None
        partition = partition_of(self._engine)
        if not manifest.shards:
            if partition.has_stepped:
                room = self._host.room(partition)
                begin_anew(room, self._engine, partition)
                restore(self._engine, room, manifest.optimizer_step)
            return manifest
        try:
            plan = copies(partition.pieces, [shard.pieces for shard in manifest.shards])
        except NotCovered as error:
            raise StageFailed(
                ExitCode.MISMATCH,
                "CheckpointMismatch",
                f"step {entry.step} under {self._uri} is of another model: {error}",
            ) from error
        try:
            paths, problem = self._try_download(manifest, plan)
            problems = [problem for problem in self._gang.gather(problem) if problem is not None]
            if problems:
                log.warning("the checkpoint of step %d is damaged: %s", entry.step, problems[0])
                return None
            room = self._host.room(partition)
            read_shards(room, plan, paths)
            self._gang.barrier()  # the others may still read what this rank has brought
            restore(self._engine, room, manifest.optimizer_step)
        finally:
            shutil.rmtree(self._brought_by(self._gang.rank), ignore_errors=True)
        return manifest

    def _read_manifest(self, entry: Entry) -> Manifest | None:
        told = None
        if self._gang.rank == 0:
            try:
                told = read_manifest(self._storage, self._uri, entry).to_json()
            except Damaged as problem:
                log.warning("the checkpoint of step %d is damaged: %s", entry.step, problem)
        told = self._gang.broadcast(told)
        return None if told is None else Manifest.parse(told)

    def _try_download(self, manifest: Manifest, plan: tuple[Copy, ...]) -> tuple[dict[int, Path], str | None]:
        try:
            return self._download(manifest, plan), None
        except Damaged as problem:
            return {}, str(problem)

    def _download(self, manifest: Manifest, plan: tuple[Copy, ...]) -> dict[int, Path]:
        """The shards that this pod's ranks read, as files by number; those that this rank brings are there, verified.

        Each comes to a pod once: where the ZeRO stage has changed, every rank reads all of them. Raises Damaged.
        """
        pod = f"{socket.gethostname()}:{self._scratch}"
        bringers = shared_out(self._gang.gather([pod, [copy.shard for copy in plan]]), self._gang.rank)
        own = [number for number, rank in bringers.items() if rank == self._gang.rank]
        folder = self._brought_by(self._gang.rank)
        need_room_together(self._gang, folder, sum(manifest.shards[number].size for number in own))
        paths = {number: self._brought_by(rank) / f"{number}.safetensors" for number, rank in bringers.items()}
        for number in own:
            shard = manifest.shards[number]
            uri = f"{self._uri}/{shard.key}"
            download_verified(self._storage, uri, paths[number], size=shard.size, sha256=shard.sha256)
        return paths

    def _brought_by(self, rank: int) -> Path:
        return self._scratch / f"restore-{rank}"


def _manifest(snapshot: _Snapshot, epoch: int, reports: list[dict[str, Any]]) -> Manifest:
    steps = {report["optimizerStep"] for report in reports}
    if len(steps) != 1:
        raise RuntimeError(f"the ranks' optimizers count different steps: {steps}")
    return Manifest(
        step=snapshot.step,
        epoch=epoch,
        optimizer_step=snapshot.optimizer_step,
        shards=tuple(Shard.parse(report["shard"]) for report in reports if report["shard"] is not None),
        state=dict(snapshot.state),
    )
