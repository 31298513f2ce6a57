"""What a node needs on its disk before training, verified: base model, prepared data, an adapter to go on from."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_api.spec import Spec
from finetune_trainer import prepared
from finetune_trainer.checkpoint.room import need_room
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.model import initial, resolve
from finetune_trainer.prepare.model.files import FIELD, find_files
from finetune_trainer.storage import Storage, StoredObject, open_storage

log = logging.getLogger(__name__)

_FILES_AT_ONCE = 4
"""The end of one shard and the start of the next overlap; ranges within each are the storage's."""


@dataclass(frozen=True)
class Materials:
    """Folders on this node."""

    model: Path
    data: Path
    adapter: Path
    """To go on from; absent where training starts a new one."""


def places(scratch: Path) -> Materials:
    """Where `fetch` puts them."""
    return Materials(model=scratch / "model", data=scratch / "data", adapter=scratch / "adapter")


def fetch(
    spec: Spec, expected: Prepared, *, storage: Storage, scratch: Path, report: Callable[[int, int], None]
) -> None:
    """Bring all of it here; one process a node does this. Raises StageFailed when it is not what was prepared.

    `report` is told how many bytes of the model have arrived, and of how many.
    """
    here, lora = places(scratch), spec.method.adapter
    fetch_model(spec.model.uri, expected.model_digest, storage=storage, folder=here.model, report=report)
    prepared.fetch(storage, expected.data_uri, expected.data_digest, here.data)
    if lora is not None and lora.initial_adapter_uri is not None and expected.adapter_digest is not None:
        fetch_adapter(lora.initial_adapter_uri, expected.adapter_digest, storage=storage, folder=here.adapter)


def fetch_model(
    uri: str, expected_digest: str, *, storage: Storage, folder: Path, report: Callable[[int, int], None]
) -> None:
    """Bring the base model; twice before it is said to be another one, for the wire may be at fault."""
    for _ in range(2):
        _bring_model(storage, uri, folder, report)
        if _digest(folder) == expected_digest:
            return
    raise StageFailed(
        ExitCode.MISMATCH,
        "ModelChanged",
        f"{uri} is no longer the model that was prepared for: put it back, or apply the job under a new name",
        field=FIELD,
    )


def fetch_adapter(uri: str, expected_digest: str, *, storage: Storage, folder: Path) -> None:
    """Bring the adapter that training goes on from. Raises StageFailed when it is not what was prepared for."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with blame(initial.FIELD):
        for stored in initial.find_adapter(storage, uri).every:
            storage.download(stored.uri, folder / stored.uri.rpartition("/")[2])
    if initial.find_adapter(open_storage(), f"file://{folder}").digest != expected_digest:
        raise StageFailed(
            ExitCode.MISMATCH,
            "AdapterChanged",
            f"{uri} is no longer the adapter that was prepared for: put it back, or apply the job under a new name",
            field=initial.FIELD,
        )


def _bring_model(storage: Storage, uri: str, folder: Path, report: Callable[[int, int], None]) -> None:
    """No file but those that are checked: whatever else lies beside them, the libraries would read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = find_files(storage, uri)
    if uri.startswith("file://"):
        for stored in files.every:
            path = Path(stored.uri.removeprefix("file://")).expanduser()
            (folder / files.name_of(stored)).symlink_to(path)
        return
    total = sum(stored.size for stored in files.every)
    need_room(folder, total)
    arrivals = _Arrivals(total, report)

    def bring(stored: StoredObject) -> None:
        storage.download(stored.uri, folder / files.name_of(stored), arrived=arrivals.add)

    with blame(FIELD), ThreadPoolExecutor(_FILES_AT_ONCE, "file") as threads:
        try:
            for brought in as_completed([threads.submit(bring, stored) for stored in files.every]):
                brought.result()
        except BaseException:
            arrivals.unwanted = True
            threads.shutdown(cancel_futures=True)
            raise


class _Unwanted(Exception):
    """Another file failed, or the process is told to end."""


class _Arrivals:
    """Adds up what threads tell, and reports from one at a time."""

    unwanted = False
    """Once True, files on their way end with their next part."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._total = total
        self._report = report
        self._done = 0
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        if self.unwanted:
            raise _Unwanted
        with self._lock:
            self._done += num_bytes
            self._report(self._done, self._total)


def _digest(folder: Path) -> str | None:
    """Of the model as it lies here; None when it is none."""
    try:
        return resolve(open_storage(), f"file://{folder}").digest
    except StageFailed as failed:
        log.warning("what was brought is no model: %s", failed)
        return None
