"""What a stored object is, told cheaply and safely."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from finetune_trainer.storage import Storage, StoredObject

READ_WHOLE_BYTES: Final = 16 << 20
"""Up to here an object is told by its content: a copy elsewhere, or a file written again, is the same."""


def digest_of(value: Any) -> str:
    """Of a JSON-compatible value; equal values give equal digests in every process."""
    content = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def fingerprint(storage: Storage, stored: StoredObject) -> str:
    """Of a large object size and etag, which the store changes with the content: nothing of it is read.

    A large object that is uploaded again in other parts counts as another one. That costs a run its reuse, never its
    correctness.
    """
    if stored.size > READ_WHOLE_BYTES:
        return f"{stored.size}:{stored.etag}"
    content, _ = storage.read(stored.uri)
    return hashlib.sha256(content).hexdigest()
