"""file:// storage: a folder with the promises of an object store (whole objects, compare-and-swap)."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from finetune_trainer.storage import checksums
from finetune_trainer.storage.objects import (
    AccessDenied,
    Arrived,
    NotFound,
    PreconditionFailed,
    StorageError,
    StoredObject,
    StoreUnavailable,
    unheard,
)

_SCHEME = "file://"
_PART = ".part"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST)
"""The last: a file lies where a folder is needed."""


class FileStorage:
    """Objects are files. Writers of one folder take turns (flock), so that `if_match` is a true compare-and-swap."""

    def pinned(self, uri: str) -> str:
        return uri

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folder_uri = prefix[: prefix.rindex("/") + 1]
        folder = _path(folder_uri)
        with _answers(prefix):
            found = [
                (folder_uri + file.relative_to(folder).as_posix(), file)
                for file in _files(folder, denied=folder.exists())
            ]
        for uri, file in sorted(found):
            if uri.startswith(prefix):
                try:
                    yield _stored(uri, file.stat())
                except FileNotFoundError:
                    continue  # deleted since it was listed

    def stat(self, uri: str) -> StoredObject | None:
        try:
            with _answers(uri):
                path = _path(uri)
                return None if path.is_dir() else _stored(uri, path.stat())
        except NotFound:
            return None

    def open(self, uri: str) -> BinaryIO:
        with _answers(uri):
            return _path(uri).open("rb")

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        # A replaced file is another inode: what is open here and its etag stay together.
        with _answers(uri), _path(uri).open("rb") as file:
            file.seek(start)
            content = file.read() if length is None else file.read(length)
            return content, _stored(uri, os.fstat(file.fileno())).etag

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        def fill(part: Path) -> None:
            part.write_bytes(content)

        return self._replace(uri, fill, if_match=if_match, if_absent=if_absent)

    def upload(self, path: Path, uri: str) -> StoredObject:
        def fill(part: Path) -> None:
            shutil.copyfile(path, part)

        return self._replace(uri, fill)

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        part = path.with_name(path.name + _PART)
        with _answers(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with _path(uri).open("rb") as source, part.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                    stored = _stored(uri, os.fstat(source.fileno()))
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        arrived(stored.size)
        return stored

    def checksum(self, uri: str) -> int:
        with _answers(uri):
            return checksums.of_file(_path(uri))

    def delete(self, uri: str) -> None:
        try:
            with _answers(uri):
                _path(uri).unlink(missing_ok=True)
        except NotFound:
            return

    def _replace(
        self, uri: str, fill: Callable[[Path], None], *, if_match: str | None = None, if_absent: bool = False
    ) -> StoredObject:
        path = _path(uri)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
        with _answers(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                fill(part)
                with _locked(path.parent) as folder:
                    old = self.stat(uri)
                    if if_absent and old is not None:
                        raise PreconditionFailed(f"{uri} exists already")
                    if if_match is not None and (old is None or old.etag != if_match):
                        raise PreconditionFailed(f"{uri} has changed")
                    _stamp(part, path if old else None)
                    part.replace(path)
                    os.fsync(folder)
                    return _stored(uri, path.stat())
            finally:
                part.unlink(missing_ok=True)


def _path(uri: str) -> Path:
    path = Path(uri.removeprefix(_SCHEME)).expanduser()
    if not uri.startswith(_SCHEME) or not path.is_absolute():
        raise StorageError(f"{uri}: not an absolute file:///path")
    return path


def _stored(uri: str, stat: os.stat_result) -> StoredObject:
    return StoredObject(uri=uri, size=stat.st_size, etag=f"{stat.st_mtime_ns:x}-{stat.st_size:x}")


def _stamp(part: Path, old: Path | None) -> None:
    """Make the new version durable, and its etag another than every earlier one: the kernel's own stamps have ticks
    of some milliseconds, in which two writers fit."""
    stamp = time.time_ns()
    if old is not None:
        stamp = max(stamp, old.stat().st_mtime_ns + 1)
    with part.open("rb") as file:
        os.utime(file.fileno(), ns=(stamp, stamp))
        os.fsync(file.fileno())


def _files(folder: Path, *, denied: bool) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if denied:
            raise error

    for where, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if not name.endswith(_PART):
                yield Path(where, name)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _answers(uri: str) -> Iterator[None]:
    """Operating system errors in the words of the protocol."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            raise AccessDenied(f"{uri}: {error.strerror}: {error.filename}") from error
        if error.errno in _NOT_THERE:
            raise NotFound(f"{uri}: {error.strerror}") from error
        raise StoreUnavailable(f"{uri}: {error.strerror}") from error
