"""What tells stored objects apart."""

from __future__ import annotations

from finetune_trainer.prepare.fingerprint import READ_WHOLE_BYTES, digest_of, fingerprints
from finetune_trainer.storage import StoredObject
from memory_storage import MemoryStorage


def test_small_objects_are_told_by_content_whenever_and_wherever_they_were_written() -> None:
    storage = MemoryStorage()
    first, again = storage.write("s3://raw/a", b"x"), storage.write("s3://raw/b", b"x")
    other = storage.write("s3://raw/c", b"y")
    prints = fingerprints(storage, [first, again, other])
    assert prints["s3://raw/a"] == prints["s3://raw/b"] != prints["s3://raw/c"]


def test_of_large_objects_nothing_is_read() -> None:
    """There is nothing in this storage that could be."""
    large = [StoredObject(uri=f"s3://raw/{number}", size=READ_WHOLE_BYTES // 2 + 1, etag="e") for number in range(2)]
    size = READ_WHOLE_BYTES // 2 + 1
    assert fingerprints(MemoryStorage(), large) == {"s3://raw/0": f"{size}:e", "s3://raw/1": f"{size}:e"}


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": [1, 2]}) != digest_of({"a": [2, 1]})
