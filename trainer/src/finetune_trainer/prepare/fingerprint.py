"""What stored objects are, told cheaply and safely."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from finetune_trainer.storage import Storage, StoredObject

READ_WHOLE_BYTES: Final = 64 << 20
"""Up to here objects are told by their content: a copy elsewhere, or a file written again, is the same."""


def digest_of(value: Any) -> str:
    """Of a JSON-compatible value; equal values give equal digests in every process."""
    content = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def content_print(storage: Storage, stored: StoredObject) -> str:
    """Of one object by its content, wherever and however it is stored; read only where the store keeps no checksum."""
    return f"{stored.size}:{storage.checksum(stored.uri):016x}"


def fingerprints(storage: Storage, objects: Sequence[StoredObject]) -> dict[str, str]:
    """Of each object by uri; all by content, or all by what the store says of them, by their size together.

    What the store says is size and etag, which changes with the content. A large object that is uploaded again in
    other parts counts as another one: that costs a run its reuse, never its correctness.
    """
    by_content = sum(stored.size for stored in objects) <= READ_WHOLE_BYTES
    return {
        stored.uri: hashlib.sha256(storage.read(stored.uri)[0]).hexdigest()
        if by_content
        else f"{stored.size}:{stored.etag}"
        for stored in objects
    }
