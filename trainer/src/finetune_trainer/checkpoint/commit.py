"""When a checkpoint counts: HEAD.json, replaced by compare-and-swap under an epoch that fences off older gangs.

open_run   HEAD.epoch += 1                          at every start of the gang
commit     shards … → manifest (create) → HEAD      exists from here on
           → delete what HEAD no longer lists: manifests, then shards
skip       HEAD: what training is to leave out, without the checkpoints that have seen it
publish    files … → manifest (create) → HEAD
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from pydantic import ValidationError

from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.layout import CHECKPOINTS, HEAD, Entry, Head, Manifest, Skipped, manifest_key
from finetune_trainer.checkpoint.retention import before, kept, to_delete
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import NotFound, PreconditionFailed, Storage, StorageError
from finetune_trainer.verified import read_verified

LEASE = timedelta(minutes=2)
"""An owner that has not renewed HEAD for so long is taken for dead."""
_WATCH_SECONDS = 5.0

log = logging.getLogger(__name__)


class Fenced(StageFailed):
    """A newer gang has taken the run over: whatever this one writes no longer counts."""

    def __init__(self, uri: str, epoch: int) -> None:
        super().__init__(ExitCode.RETRY, "Fenced", f"{uri}: epoch {epoch} was ended by a newer start of the run")


class Run:
    """The run as its one writer sees it: rank 0 of the gang that raised the epoch last. Safe in threads."""

    def __init__(self, storage: Storage, uri: str, head: Head, etag: str, clock: Callable[[], datetime]) -> None:
        self.uri = uri
        self._storage = storage
        self._head = head
        self._etag = etag
        self._clock = clock
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._fenced: Fenced | None = None
        self._heart: threading.Thread | None = None

    @property
    def head(self) -> Head:
        """As written last."""
        return self._head

    @property
    def epoch(self) -> int:
        return self._head.epoch

    def keep_alive(self, *, every_seconds: float = 20.0) -> None:
        """Renew HEAD in the background until `close`, so that nobody takes the owner for dead."""
        self._heart = threading.Thread(target=self._beat, args=(every_seconds,), name="heartbeat", daemon=True)
        self._heart.start()

    def check(self) -> None:
        """Raises Fenced when a newer gang has been noticed. Cheap."""
        if self._fenced is not None:
            raise self._fenced

    def commit(self, manifest: Manifest, *, keep_last: int, best_step: int | None = None) -> None:
        """Make a checkpoint count whose shards are all stored, and let the oldest go, but that of `best_step`.

        Raises Fenced, StoreUnavailable or AccessDenied; the checkpoint before is then still there.
        """
        content = manifest.model_dump_json(by_alias=True).encode()
        self._create(manifest_key(manifest.step, manifest.epoch), content)
        entry = Entry(
            step=manifest.step,
            epoch=manifest.epoch,
            manifest_sha256=sha256(content).hexdigest(),
            best_step=best_step,
        )
        # Without itself first: after a lost answer the list may hold it already.
        self._swap(lambda head: {"checkpoints": kept((*(e for e in head.checkpoints if e != entry), entry), keep_last)})
        self._collect()

    def forget(self, entries: tuple[Entry, ...]) -> None:
        """Take checkpoints that turned out to be corrupt off the list. Raises as `commit`."""
        self._swap(lambda head: {"checkpoints": tuple(e for e in head.checkpoints if e not in entries)})

    def skip(self, suspects: range, reason: str) -> None:
        """Never take these steps, or those of them that come after the oldest checkpoint: newer ones count no more.

        The newest checkpoint is then one from before them. Raises as `commit`; LookupError when there is none at all.
        """
        goal = before(self._head.checkpoints, suspects.start - 1)
        skipped = Skipped(first=max(suspects.start, goal.step + 1), last=suspects.stop - 1, reason=reason)
        # As with `commit`, a write that seemed lost may be there already.
        self._swap(
            lambda head: {
                "checkpoints": tuple(entry for entry in head.checkpoints if entry.step <= goal.step),
                "skipped": (*(known for known in head.skipped if known != skipped), skipped),
            }
        )

    def publish(self, key: str, content: bytes, step: int) -> Entry:
        """Make a publication count whose files are all stored; `key` is relative to the run. Raises as `commit`."""
        self._create(key, content)
        entry = Entry(step=step, epoch=self.epoch, manifest_sha256=sha256(content).hexdigest())
        self._swap(lambda _: {"published": entry})
        return entry

    def close(self, *, within_seconds: float = 10.0) -> None:
        """Leave the run to the next owner at once, if the store can be told by then; else it waits for LEASE to end.

        Harmless when it has been taken already.
        """
        self._closing.set()
        leaving = threading.Thread(target=self._leave, name="leaving", daemon=True)
        leaving.start()
        leaving.join(within_seconds)
        if leaving.is_alive():
            log.warning("left %s without a word: the store does not answer", self.uri)

    def _leave(self) -> None:
        if self._heart is not None:
            self._heart.join()
        try:
            self._swap(lambda _: {"renewed": None})
        except (StageFailed, StorageError) as error:  # nothing of it may hide how the gang itself ended
            log.info("left the run without a word: %s", error)

    def _beat(self, every_seconds: float) -> None:
        while not self._closing.wait(every_seconds):
            try:
                self._swap(lambda _: {})
            except Fenced:
                return
            except Exception as error:  # noqa: BLE001 - the next write of the gang itself will say so, and end it
                log.warning("could not renew %s: %s", self.uri, error)

    def _create(self, key: str, content: bytes) -> None:
        uri = f"{self.uri}/{key}"
        try:
            self._storage.write(uri, content, if_absent=True)
        except PreconditionFailed:
            # The epoch is part of the key: only an earlier try of ours can have written there.
            if self._storage.read(uri)[0] != content:
                raise

    def _swap(self, change: Callable[[Head], dict[str, object]]) -> None:
        with self._lock:
            while True:
                self.check()
                head = self._head.model_copy(update={"renewed": self._clock(), **change(self._head)})
                try:
                    stored = self._storage.write(
                        f"{self.uri}/{HEAD}", head.model_dump_json(by_alias=True).encode(), if_match=self._etag
                    )
                except PreconditionFailed:
                    self._reread()
                else:
                    self._head, self._etag = head, stored.etag
                    return

    def _reread(self) -> None:
        """After a refused write: either a newer gang is there, or a write of ours was applied that we took for lost."""
        try:
            head, etag = _read_head(self._storage, self.uri)
        except NotFound:
            head = None
        if head is None or (head.epoch, head.writer) != (self._head.epoch, self._head.writer):
            self._fenced = Fenced(self.uri, self._head.epoch)
            raise self._fenced
        self._head, self._etag = head, etag

    def _collect(self) -> None:
        keys = (stored.uri.removeprefix(f"{self.uri}/") for stored in self._storage.list(f"{self.uri}/{CHECKPOINTS}/"))
        for key in to_delete(keys, self._head):
            self._storage.delete(f"{self.uri}/{key}")


def open_run(
    storage: Storage,
    run_uri: str,
    *,
    owner: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Take the run over: raise its epoch and name its owner. Rank 0 does this once in every start of the gang.

    The same owner may always take over: its earlier gang is gone, or is a zombie to be fenced. Another owner that may
    be alive is watched for up to LEASE: when it renews HEAD in that time it is, when it does not the run is ours.

    Args:
        run_uri: `<output.uri>/runs/<run>`, without a slash at the end.
        owner: UID of the FineTuneJob.
        clock: the time, with its zone.

    Raises:
        StageFailed: `OutputInUse`, another FineTuneJob is writing this very run.
        StoreUnavailable, AccessDenied: as the storage.
    """
    watched_since: datetime | None = None
    last_seen: Head | None = None
    while True:
        try:
            head, etag = _read_head(storage, run_uri)
        except NotFound:
            head, etag = None, None
        now = clock()
        if head is not None and head.owner != owner and head.renewed is not None and now - head.renewed < LEASE:
            if last_seen is not None and last_seen != head:
                raise StageFailed(
                    ExitCode.BAD_CONFIG,
                    "OutputInUse",
                    f"{run_uri} is being written by the FineTuneJob with uid {head.owner}: "
                    "give this one another spec.output.uri, or cancel the other",
                    field="spec.output.uri",
                )
            # Its clock may run ahead of ours, so the watch has an end of its own.
            watched_since = watched_since or now
            if now - watched_since < LEASE:
                last_seen = head
                sleep(_WATCH_SECONDS)
                continue
        taken = Head(
            epoch=head.epoch + 1 if head else 1,
            owner=owner,
            writer=secrets.token_hex(8),
            renewed=now,
            checkpoints=head.checkpoints if head else (),
            skipped=head.skipped if head else (),
            published=head.published if head else None,
        )
        try:
            stored = storage.write(
                f"{run_uri}/{HEAD}",
                taken.model_dump_json(by_alias=True).encode(),
                if_match=etag,
                if_absent=head is None,
            )
        except PreconditionFailed:
            continue
        return Run(storage, run_uri, taken, stored.etag, clock)


def read_manifest(storage: Storage, run_uri: str, entry: Entry) -> Manifest:
    """The manifest that HEAD names. Raises Damaged when it is not the one that was committed."""
    content = read_verified(storage, f"{run_uri}/{manifest_key(entry.step, entry.epoch)}", entry.manifest_sha256)
    return Manifest.model_validate_json(content)


def read_head(storage: Storage, run_uri: str) -> Head | None:
    """HEAD.json, None before the run's first start. Raises StageFailed when it cannot be read as one."""
    try:
        return _read_head(storage, run_uri)[0]
    except NotFound:
        return None


def _read_head(storage: Storage, run_uri: str) -> tuple[Head, str]:
    content, etag = storage.read(f"{run_uri}/{HEAD}")
    try:
        return Head.model_validate_json(content), etag
    except ValidationError as error:
        raise StageFailed(
            ExitCode.CHECKPOINTS_CORRUPT,
            "HeadCorrupt",
            f"{run_uri}/{HEAD} is damaged: restore an earlier version, or delete its folder to start anew",
        ) from error
