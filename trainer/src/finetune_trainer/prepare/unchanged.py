"""Objects are read as they were when they were listed: it is these that the digest names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.read import RawObject
from finetune_trainer.storage import PreconditionFailed, Storage


@contextmanager
def opened(storage: Storage, raw: RawObject) -> Iterator[BinaryIO]:
    """The content of `raw`. Raises StageFailed when something else stands there now: the next attempt lists anew."""
    changed = StageFailed(ExitCode.RETRY, "DataChanged", f"{raw.uri} changed while it was read")
    try:
        with blame(raw.field), storage.open(raw.uri) as stream:
            yield stream
    except PreconditionFailed as error:
        raise changed from error
    now = storage.stat(raw.uri)
    if now is None or now.etag != raw.stored.etag:
        raise changed
