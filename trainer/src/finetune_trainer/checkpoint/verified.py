"""Bytes from storage that are proven to be those that were written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from finetune_trainer.storage import NotFound, Storage


class Damaged(Exception):
    """The object is missing, or is not what was written there."""


def read_verified(storage: Storage, uri: str, sha256: str) -> bytes:
    """A small object. Raises Damaged, and what the storage raises."""
    try:
        content, _ = storage.read(uri)
    except NotFound as error:
        raise Damaged(f"{uri} is missing") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"{uri} is not what was written there")
    return content


def download_verified(storage: Storage, uri: str, path: Path, *, size: int, sha256: str) -> None:
    """An object of any size, as a file. Raises Damaged, and what the storage raises.

    Read twice before it is called damaged, for the wire may be at fault.
    """
    for _ in range(2):
        try:
            storage.download(uri, path)
        except NotFound as error:
            raise Damaged(f"{uri} is missing") from error
        if path.stat().st_size == size and digest_of(path) == sha256:
            return
    raise Damaged(f"{uri} is not what was written there")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
