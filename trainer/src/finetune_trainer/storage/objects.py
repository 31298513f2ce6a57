"""What storage is: objects under uris, and the ways in which it can refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """What is known of an object without reading it."""

    uri: str
    size: int
    etag: str
    """Changes with the content; what `if_match` compares."""


class StorageError(Exception):
    """Names the uri and what the store answered."""


class NotFound(StorageError):
    """No such object or bucket."""


class AccessDenied(StorageError):
    """The store refuses us: no right to this object."""


class KeysRefused(AccessDenied):
    """Whatever we ask for: the keys are unknown to the store, wrong or expired, or there are none."""


class PreconditionFailed(StorageError):
    """Somebody else wrote first."""


class StoreUnavailable(StorageError):
    """No usable answer within the time budget; the same request may succeed later."""


Arrived = Callable[[int], None]
"""Is told how many more bytes are there."""


def unheard(_num_bytes: int, /) -> None:
    """Where nobody asks."""


class ReadableStorage(Protocol):
    """Where objects can be read. Every method may raise AccessDenied or StoreUnavailable.

    Uris are `s3://bucket/key`, `file:///path`, or, where nothing is written, `hf://datasets/owner/name[@revision]/path`.
    """

    def pinned(self, uri: str) -> str:
        """A uri, also with wildcards, by which the same content is named for ever, where the store keeps versions; else
        `uri` itself. Raises NotFound."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Objects whose uri starts with `prefix`, sorted by uri."""

    def stat(self, uri: str) -> StoredObject | None:
        """None when there is no such object."""

    def open(self, uri: str) -> BinaryIO:
        """Stream from the start. Raises NotFound."""

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        """Bytes and the etag they belong to. Raises NotFound."""


class Storage(ReadableStorage, Protocol):
    """Where objects can be written, and moved as files, too."""

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        """One small object, in one piece, with a checksum. Raises PreconditionFailed."""

    def upload(self, path: Path, uri: str) -> StoredObject:
        """A file of any size, in parts, with checksums that the store verifies."""

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        """To a file, in parallel ranges; the file appears only when it is whole. Raises NotFound.

        `arrived` is told how many more bytes are there, from any thread. Downloads at the same time share what one has.
        """

    def checksum(self, uri: str) -> int:
        """CRC-64/NVME of the content: as the store keeps it, else by reading all of it. Raises NotFound."""

    def delete(self, uri: str) -> None:
        """Gone already is success."""
