"""Storage in memory, and one around it that stops or interrupts a writer at a chosen write."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from finetune_trainer.storage import (
    Arrived,
    NotFound,
    PreconditionFailed,
    Storage,
    StoredObject,
    checksums,
    unheard,
)

T = TypeVar("T")


@dataclass
class MemoryStorage:
    """Objects in a dictionary: content and a version that is the etag."""

    objects: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    version: int = 0

    def pinned(self, uri: str) -> str:
        return uri

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = sorted(uri for uri in self.objects if uri.startswith(prefix))
        return iter([stored for uri in found if (stored := self.stat(uri))])

    def stat(self, uri: str) -> StoredObject | None:
        if uri not in self.objects:
            return None
        content, version = self.objects[uri]
        return StoredObject(uri=uri, size=len(content), etag=str(version))

    def open(self, uri: str) -> BinaryIO:
        return io.BytesIO(self.read(uri)[0])

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        if uri not in self.objects:
            raise NotFound(uri)
        content, version = self.objects[uri]
        return content[start:][:length], str(version)

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        old = self.stat(uri)
        if (if_absent and old is not None) or (if_match is not None and (old is None or old.etag != if_match)):
            raise PreconditionFailed(uri)
        self.version += 1
        self.objects[uri] = (content, self.version)
        return StoredObject(uri=uri, size=len(content), etag=str(self.version))

    def upload(self, path: Path, uri: str) -> StoredObject:
        return self.write(uri, path.read_bytes())

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        content, etag = self.read(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        arrived(len(content))
        return StoredObject(uri=uri, size=len(content), etag=etag)

    def checksum(self, uri: str) -> int:
        return checksums.crc64(self.read(uri)[0])

    def delete(self, uri: str) -> None:
        self.objects.pop(uri, None)


class Crash(BaseException):
    """The process is gone: nothing of it runs any more, `except Exception` included."""


@dataclass
class WatchedStorage:
    """Passes everything on, and calls `before(n)` and `after(n)` around the n-th change, counted from 1."""

    inner: Storage
    before: Callable[[int], None] = lambda _: None
    after: Callable[[int], None] = lambda _: None
    changes: int = 0

    def pinned(self, uri: str) -> str:
        return self.inner.pinned(uri)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self.inner.list(prefix)

    def stat(self, uri: str) -> StoredObject | None:
        return self.inner.stat(uri)

    def open(self, uri: str) -> BinaryIO:
        return self.inner.open(uri)

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        return self.inner.read(uri, start, length)

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        return self._change(lambda: self.inner.write(uri, content, if_match=if_match, if_absent=if_absent))

    def upload(self, path: Path, uri: str) -> StoredObject:
        return self._change(lambda: self.inner.upload(path, uri))

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        return self.inner.download(uri, path, arrived=arrived)

    def checksum(self, uri: str) -> int:
        return self.inner.checksum(uri)

    def delete(self, uri: str) -> None:
        self._change(lambda: self.inner.delete(uri))

    def _change(self, change: Callable[[], T]) -> T:
        self.changes += 1
        number = self.changes
        self.before(number)
        result = change()
        self.after(number)
        return result


def crash_at(number: int) -> Callable[[int], None]:
    """For `before` or `after`."""

    def crash(change: int) -> None:
        if change == number:
            raise Crash

    return crash
