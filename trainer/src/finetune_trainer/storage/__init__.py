"""Objects in S3, in a folder or in datasets of the Hugging Face Hub: which backend serves a uri."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

from finetune_trainer.storage.files import FileStorage
from finetune_trainer.storage.objects import (
    AccessDenied,
    Arrived,
    KeysRefused,
    NotFound,
    PreconditionFailed,
    ReadableStorage,
    Storage,
    StorageError,
    StoredObject,
    StoreUnavailable,
    unheard,
)

__all__ = [
    "AccessDenied",
    "Arrived",
    "KeysRefused",
    "NotFound",
    "PreconditionFailed",
    "Storage",
    "StorageError",
    "StoreUnavailable",
    "StoredObject",
    "open_storage",
    "unheard",
]


def open_storage(*, endpoint: str | None = None, region: str | None = None) -> Storage:
    """Storage for every uri; keys of S3 come from the environment, as with any AWS SDK, and so do the Hub's token and
    endpoint (HF_TOKEN, HF_ENDPOINT). Connects with the first use.

    Args:
        endpoint: URL of an S3-compatible server; None: AWS.
        region: region of the buckets; None: that of the environment.
    """
    return _Router(endpoint=endpoint, region=region)


class _Router:
    def __init__(self, *, endpoint: str | None, region: str | None) -> None:
        self._endpoint = endpoint
        self._region = region
        self._files = FileStorage()

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: connections stay here."""
        return partial(open_storage, endpoint=self._endpoint, region=self._region), ()

    @cached_property
    def _s3(self) -> Storage:
        # A run on files alone does not pay for the import of boto3.
        from finetune_trainer.storage.s3 import S3Storage, connect

        return S3Storage(connect(endpoint=self._endpoint, region=self._region), endpoint=self._endpoint)

    @cached_property
    def _hub(self) -> ReadableStorage:
        from finetune_trainer.storage.hub import HubStorage  # which few need, and takes a second

        return HubStorage()

    def _source(self, uri: str) -> ReadableStorage:
        return self._hub if uri.startswith("hf://") else self._backend(uri)

    def _backend(self, uri: str) -> Storage:
        if uri.startswith("s3://"):
            return self._s3
        if uri.startswith("file://"):
            return self._files
        raise StorageError(f"{uri}: not a storage uri; use s3://bucket/key or file:///path")

    def pinned(self, uri: str) -> str:
        return self._source(uri).pinned(uri)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._source(prefix).list(prefix)

    def stat(self, uri: str) -> StoredObject | None:
        return self._source(uri).stat(uri)

    def open(self, uri: str) -> BinaryIO:
        return self._source(uri).open(uri)

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        return self._source(uri).read(uri, start, length)

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        return self._backend(uri).write(uri, content, if_match=if_match, if_absent=if_absent)

    def upload(self, path: Path, uri: str) -> StoredObject:
        return self._backend(uri).upload(path, uri)

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        return self._backend(uri).download(uri, path, arrived=arrived)

    def checksum(self, uri: str) -> int:
        return self._backend(uri).checksum(uri)

    def delete(self, uri: str) -> None:
        self._backend(uri).delete(uri)
