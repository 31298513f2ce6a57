"""Files and objects that are proven to be those that were written, by size and SHA-256."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from finetune_api.model import Model
from finetune_trainer.storage import NotFound, Storage

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""In hexadecimal."""


_HASHED_AT_ONCE: Final = 4


class ListedFile(Model):
    """A file that a manifest lists."""

    path: Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]
    """Below the folder of the manifest, and never out of it: a manifest from storage says where files are put."""
    size: int
    """Bytes."""
    sha256: Sha256


class Damaged(Exception):
    """The object is missing, or is not what was written there."""


def files_under(folder: Path) -> tuple[ListedFile, ...]:
    """Every file below a local folder, by path."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(_HASHED_AT_ONCE) as threads:
        return tuple(
            ListedFile(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sha256)
            for path, sha256 in zip(paths, threads.map(sha256_of, paths), strict=True)
        )


def all_stored(storage: Storage, folder_uri: str, files: tuple[ListedFile, ...]) -> bool:
    """Whether each file is there in its size; its content is not read."""
    sizes = {stored.uri: stored.size for stored in storage.list(f"{folder_uri}/")}
    return all(sizes.get(f"{folder_uri}/{file.path}") == file.size for file in files)


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
        if path.stat().st_size == size and sha256_of(path) == sha256:
            return
    raise Damaged(f"{uri} is not what was written there")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
