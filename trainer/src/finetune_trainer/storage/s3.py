"""s3:// storage. Every object is written with a CRC-64/NVME that the store verifies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from finetune_api.contract import SECRET_KEYS
from finetune_trainer.storage import checksums
from finetune_trainer.storage.ahead import PART_BYTES, read_ahead
from finetune_trainer.storage.calls import Calls, Patience, of_length
from finetune_trainer.storage.keys import check_keys
from finetune_trainer.storage.objects import (
    Arrived,
    NotFound,
    PreconditionFailed,
    StorageError,
    StoredObject,
    unheard,
)
from finetune_trainer.storage.s3_calls import judge, status_of

_THREADS = 8
_DOWNLOADS = 16
"""Ranges on their way at once, of all files together: a connection to S3 brings some 90 MB/s."""
_MOST_PARTS = 9_000
"""S3 takes 10,000."""


def connect(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    read_timeout: float = 60,
) -> Any:
    """A boto3 client without retries of its own; keys and region that are not given come from the environment.

    Raises KeysRefused for keys that could not even be sent.
    """
    check_keys(os.environ, SECRET_KEYS)
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            connect_timeout=10,
            read_timeout=read_timeout,
            max_pool_connections=_THREADS + _DOWNLOADS,
            retries={"mode": "standard", "total_max_attempts": 1},
            # Servers of one's own seldom have a DNS name for each bucket.
            s3={"addressing_style": "path"} if endpoint else {},
        ),
    )


class S3Storage:
    """The Storage protocol on one S3 client; safe in threads, not across forks."""

    def __init__(
        self,
        client: Any,
        *,
        endpoint: str | None = None,
        patience: Patience | None = None,
        part_size: int = 32 << 20,
        ahead_size: int = PART_BYTES,
    ) -> None:
        """`part_size` is that of what is sent and downloaded, `ahead_size` that of what is streamed."""
        self._client = client
        self._calls = Calls(f"{endpoint or 'AWS S3'} (spec.storage.endpoint)", judge, patience or Patience())
        self._part_size = part_size
        self._ahead_size = ahead_size
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, "download")

    def pinned(self, uri: str) -> str:
        return uri  # the etag says whether it is the same

    def list(self, prefix: str) -> Iterator[StoredObject]:
        bucket, key = _split(prefix)
        more: dict[str, str] = {}
        while True:
            page = self._list_page(prefix, {"Bucket": bucket, "Prefix": key, **more})
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # what consoles create for an empty folder
                    yield StoredObject(uri=f"s3://{bucket}/{item['Key']}", size=item["Size"], etag=item["ETag"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _list_page(self, prefix: str, request: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = self._calls.run(prefix, lambda: self._client.list_objects_v2(**request))
        return page

    def stat(self, uri: str) -> StoredObject | None:
        try:
            return _stored(uri, self._head(uri))
        except NotFound:
            return None

    def open(self, uri: str) -> BinaryIO:
        stored = _stored(uri, self._head(uri))
        return read_ahead(
            stored.size, lambda start, stop: self.read_exactly(stored, start, stop), part_bytes=self._ahead_size
        )

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        if length == 0:
            # HTTP has no empty range: a store that is asked for one sends the whole object.
            return b"", self._head(uri)["ETag"]
        request = _target(uri)
        if start or length is not None:
            request["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"

        def get() -> tuple[bytes, str]:
            try:
                answer = self._client.get_object(**request)
            except ClientError as error:
                if status_of(error) != 416:
                    raise
                return b"", self._head(uri)["ETag"]  # past the end
            return answer["Body"].read(), answer["ETag"]

        return self._calls.run(uri, get)

    def read_exactly(self, stored: StoredObject, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of this very object. Raises PreconditionFailed when it has been replaced."""

        def get() -> bytes:
            answer = self._client.get_object(
                **_target(stored.uri), IfMatch=stored.etag, Range=f"bytes={start}-{stop - 1}"
            )
            return of_length(answer["Body"].read(), stop - start)

        return self._calls.run(stored.uri, get)

    def _part(self, stored: StoredObject, start: int) -> bytes:
        """What one request brings of it, from `start` on."""
        return self.read_exactly(stored, start, min(start + self._part_size, stored.size))

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        condition = {"IfMatch": if_match} if if_match is not None else {"IfNoneMatch": "*"} if if_absent else {}
        request = {**_target(uri), "ChecksumCRC64NVME": checksums.encoded(checksums.crc64(content)), **condition}
        tries = 0

        def put() -> StoredObject:
            nonlocal tries
            tries += 1
            return StoredObject(
                uri=uri, size=len(content), etag=self._client.put_object(Body=content, **request)["ETag"]
            )

        try:
            return self._calls.run(uri, put)
        except NotFound as error:
            if if_match is None:
                raise
            raise PreconditionFailed(f"{uri}: it was deleted") from error
        except PreconditionFailed:
            # An earlier try may have been applied though its answer was lost: then our own object refused us.
            if tries > 1 and (own := self._stored_as(uri, content)):
                return own
            raise

    def _stored_as(self, uri: str, content: bytes) -> StoredObject | None:
        try:
            stored, etag = self.read(uri)
        except NotFound:
            return None
        return StoredObject(uri=uri, size=len(content), etag=etag) if stored == content else None

    def upload(self, path: Path, uri: str) -> StoredObject:
        if path.stat().st_size <= self._part_size:
            return self.write(uri, path.read_bytes())
        target = _target(uri)
        created = self._calls.run(
            uri,
            lambda: self._client.create_multipart_upload(
                **target, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
            ),
        )
        target["UploadId"] = created["UploadId"]
        try:
            parts, checksum = self._upload_parts(path, uri, target)
            return self._complete(uri, target, parts, checksum)
        except BaseException:
            self._abort(target)
            raise

    def _upload_parts(self, path: Path, uri: str, target: dict[str, str]) -> tuple[Sequence[dict[str, Any]], str]:
        part_size = max(self._part_size, -(-path.stat().st_size // _MOST_PARTS))
        checksum = 0

        def put(number: int, content: bytes) -> dict[str, Any]:
            part = {"PartNumber": number, "ChecksumCRC64NVME": checksums.encoded(checksums.crc64(content))}
            answer = self._calls.run(uri, lambda: self._client.upload_part(Body=content, **target, **part))
            return {**part, "ETag": answer["ETag"]}

        running: list[Future[dict[str, Any]]] = []
        with path.open("rb") as file, ThreadPoolExecutor(_THREADS, "upload") as threads:
            while content := file.read(part_size):
                checksum = checksums.crc64(content, checksum)
                if len(running) >= _THREADS:
                    running[-_THREADS].result()  # bounds what is held in memory
                running.append(threads.submit(put, len(running) + 1, content))
            return [part.result() for part in running], checksums.encoded(checksum)

    def _complete(
        self, uri: str, target: dict[str, str], parts: Sequence[dict[str, Any]], checksum: str
    ) -> StoredObject:
        try:
            self._calls.run(
                uri,
                lambda: self._client.complete_multipart_upload(
                    **target,
                    MultipartUpload={"Parts": list(parts)},
                    ChecksumCRC64NVME=checksum,
                    ChecksumType="FULL_OBJECT",
                ),
            )
            return _stored(uri, self._head(uri))
        except NotFound:
            # A try whose answer was lost has used the upload up.
            head = self._head(uri, ChecksumMode="ENABLED")
            if head.get("ChecksumCRC64NVME") != checksum:
                raise
            return _stored(uri, head)

    def _abort(self, target: dict[str, str]) -> None:
        try:
            self._client.abort_multipart_upload(**target)
        except (BotoCoreError, ClientError):
            return  # the bucket's lifecycle rule ends uploads that nobody could abort

    def download(self, uri: str, path: Path, *, arrived: Arrived = unheard) -> StoredObject:
        stored = _stored(uri, self._head(uri))
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)

        def fetch(start: int) -> int:
            content = self._part(stored, start)
            if os.pwrite(descriptor, content, start) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
            return len(content)

        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            ranges = [self._downloads.submit(fetch, start) for start in range(0, stored.size, self._part_size)]
            try:
                for fetched in as_completed(ranges):
                    arrived(fetched.result())
            finally:
                for fetched in ranges:
                    fetched.cancel()
                wait(ranges)  # none writes into a file that is closed
                os.close(descriptor)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return stored

    def checksum(self, uri: str) -> int:
        head = self._head(uri, ChecksumMode="ENABLED")
        if kept := head.get("ChecksumCRC64NVME"):
            return checksums.decoded(kept)
        part = partial(self._part, _stored(uri, head))
        checksum, size, stride = 0, head["ContentLength"], _THREADS * self._part_size
        with ThreadPoolExecutor(_THREADS, "checksum") as threads:
            for begin in range(0, size, stride):  # bounds what is held in memory
                starts = range(begin, min(begin + stride, size), self._part_size)
                for content in threads.map(part, starts):
                    checksum = checksums.crc64(content, checksum)
        return checksum

    def delete(self, uri: str) -> None:
        try:
            self._calls.run(uri, lambda: self._client.delete_object(**_target(uri)))
        except NotFound:
            return

    def _head(self, uri: str, **options: str) -> dict[str, Any]:
        head: dict[str, Any] = self._calls.run(uri, lambda: self._client.head_object(**_target(uri), **options))
        return head


def _split(uri: str) -> tuple[str, str]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise StorageError(f"{uri}: not an s3://bucket/key")
    return bucket, key


def _target(uri: str) -> dict[str, str]:
    bucket, key = _split(uri)
    return {"Bucket": bucket, "Key": key}


def _stored(uri: str, head: dict[str, Any]) -> StoredObject:
    return StoredObject(uri=uri, size=head["ContentLength"], etag=head["ETag"])
