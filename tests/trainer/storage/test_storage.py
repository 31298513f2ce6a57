"""What both backends promise, asked of both."""

from __future__ import annotations

import random
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from finetune_trainer.storage import (
    AccessDenied,
    NotFound,
    PreconditionFailed,
    Storage,
    StorageError,
    StoreUnavailable,
    open_storage,
)
from finetune_trainer.storage.files import FileStorage
from finetune_trainer.storage.s3 import S3Storage, connect
from s3server import S3Server

PART = 5 << 20  # S3's smallest


class Promises:
    """Subclasses have fixtures `storage` and `base`, the uri of an empty folder."""

    def test_what_is_written_is_read_back_with_its_etag(self, storage: Storage, base: str) -> None:
        written = storage.write(f"{base}/a/b.json", b"0123456789")

        assert storage.read(f"{base}/a/b.json") == (b"0123456789", written.etag)
        assert storage.stat(f"{base}/a/b.json") == written
        assert written.size == 10

    def test_a_range_ends_with_the_object(self, storage: Storage, base: str) -> None:
        storage.write(f"{base}/a", b"0123456789")

        assert [
            storage.read(f"{base}/a", start, length)[0]
            for start, length in ((2, 3), (8, 5), (3, None), (10, 4), (2, 0))
        ] == [
            b"234",
            b"89",
            b"3456789",
            b"",
            b"",
        ]

    def test_what_is_not_there_is_not_found(self, storage: Storage, base: str, tmp_path: Path) -> None:
        assert storage.stat(f"{base}/none") is None
        assert list(storage.list(f"{base}/none/")) == []
        with pytest.raises(NotFound, match="none"):
            storage.read(f"{base}/none")
        with pytest.raises(NotFound, match="none"):
            storage.download(f"{base}/none", tmp_path / "x")
        with pytest.raises(NotFound, match="none"), storage.open(f"{base}/none"):
            pass
        assert not list(tmp_path.glob("x*"))

    def test_a_listing_is_sorted_and_knows_sizes_and_etags(self, storage: Storage, base: str) -> None:
        names = ["a/2", "a/10", "a/1/x", "ab", "b", "a-"]
        written = {f"{base}/{name}": storage.write(f"{base}/{name}", name.encode()) for name in names}

        assert list(storage.list(f"{base}/a")) == [written[uri] for uri in sorted(written) if not uri.endswith("/b")]
        assert [stored.uri for stored in storage.list(f"{base}/a/")] == [f"{base}/a/{n}" for n in ("1/x", "10", "2")]

    def test_a_checksum_is_that_of_the_content_however_it_was_written(
        self, storage: Storage, base: str, tmp_path: Path
    ) -> None:
        content = random.Random(0).randbytes(2 * PART + 3)
        (tmp_path / "up").write_bytes(content)
        storage.write(f"{base}/small", b"123456789")
        storage.upload(tmp_path / "up", f"{base}/large")

        assert storage.checksum(f"{base}/small") == 0xAE8B14860A799888  # the check value of CRC-64/NVME
        assert storage.checksum(f"{base}/large") == crc64nvme(content)
        with pytest.raises(NotFound, match="none"):
            storage.checksum(f"{base}/none")

    def test_an_object_is_created_once(self, storage: Storage, base: str) -> None:
        storage.write(f"{base}/a", b"first", if_absent=True)

        with pytest.raises(PreconditionFailed):
            storage.write(f"{base}/a", b"second", if_absent=True)
        assert storage.read(f"{base}/a")[0] == b"first"

    def test_only_the_version_that_was_seen_is_replaced(self, storage: Storage, base: str) -> None:
        first = storage.write(f"{base}/a", b"first")
        second = storage.write(f"{base}/a", b"other", if_match=first.etag)

        with pytest.raises(PreconditionFailed):
            storage.write(f"{base}/a", b"third", if_match=first.etag)
        assert storage.read(f"{base}/a") == (b"other", second.etag)

    def test_a_deleted_object_is_not_the_version_that_was_seen(self, storage: Storage, base: str) -> None:
        first = storage.write(f"{base}/a", b"first")
        storage.delete(f"{base}/a")

        with pytest.raises(PreconditionFailed):
            storage.write(f"{base}/a", b"second", if_match=first.etag)

    def test_of_sixteen_racers_one_wins_each_round(self, storage: Storage, base: str) -> None:
        etag = storage.write(f"{base}/head", b"0").etag

        for turn in range(4):
            barrier = threading.Barrier(16)

            def race(
                number: int, turn: int = turn, etag: str = etag, barrier: threading.Barrier = barrier
            ) -> bytes | None:
                content = f"{turn}-{number:02}".encode()
                barrier.wait()
                try:
                    storage.write(f"{base}/head", content, if_match=etag)
                except PreconditionFailed:
                    return None
                return content

            with ThreadPoolExecutor(16) as threads:
                winners = [content for content in threads.map(race, range(16)) if content]
            content, etag = storage.read(f"{base}/head")
            assert winners == [content]

    def test_of_sixteen_creators_one_wins(self, storage: Storage, base: str) -> None:
        barrier = threading.Barrier(16)

        def race(number: int) -> bool:
            barrier.wait()
            try:
                storage.write(f"{base}/once", str(number).encode(), if_absent=True)
            except PreconditionFailed:
                return False
            return True

        with ThreadPoolExecutor(16) as threads:
            assert sum(threads.map(race, range(16))) == 1

    @pytest.mark.parametrize("size", [0, 1, PART, 2 * PART + 1])
    def test_a_file_of_any_size_goes_up_and_comes_down(
        self, storage: Storage, base: str, tmp_path: Path, size: int
    ) -> None:
        content = random.Random(size).randbytes(size)
        (tmp_path / "up").write_bytes(content)

        uploaded = storage.upload(tmp_path / "up", f"{base}/deep/file")
        downloaded = storage.download(f"{base}/deep/file", tmp_path / "new" / "down")

        assert uploaded == downloaded == storage.stat(f"{base}/deep/file")
        assert (tmp_path / "new" / "down").read_bytes() == content
        with storage.open(f"{base}/deep/file") as stream:
            assert stream.read() == content
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["down"]

    def test_deleting_twice_is_success(self, storage: Storage, base: str) -> None:
        storage.write(f"{base}/a", b"")

        storage.delete(f"{base}/a")
        storage.delete(f"{base}/a")

        assert storage.stat(f"{base}/a") is None


class TestFiles(Promises):
    @pytest.fixture
    def storage(self) -> Storage:
        return FileStorage()

    @pytest.fixture
    def base(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/objects"


@pytest.mark.tier("s3")
class TestS3(Promises):
    @pytest.fixture
    def storage(self, s3_server: S3Server) -> Storage:
        return S3Storage(connect_to(s3_server), endpoint=s3_server.endpoint, part_size=PART)

    @pytest.fixture
    def base(self, s3_bucket: str) -> str:
        return f"s3://{s3_bucket}/objects"


def connect_to(server: S3Server, endpoint: str | None = None) -> object:
    return connect(
        endpoint=endpoint or server.endpoint,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        read_timeout=5,
    )


@pytest.mark.tier("s3")
def test_the_router_serves_both_schemes(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(endpoint=s3_server.endpoint, region=s3_server.region)

    for uri in (f"s3://{s3_bucket}/a", f"file://{tmp_path}/a"):
        storage.write(uri, b"x")
        assert [stored.uri for stored in storage.list(uri)] == [uri]


def test_a_uri_of_another_kind_is_named() -> None:
    with pytest.raises(StorageError, match="gs://b/k: not a storage uri"):
        open_storage().stat("gs://b/k")
    with pytest.raises(StorageError, match="file://relative"):
        open_storage().stat("file://relative/path")


def test_a_file_where_a_folder_is_needed_is_access_denied(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(AccessDenied, match=r"File exists: .*/file"):
        FileStorage().write(f"file://{tmp_path}/file/a", b"")


def test_a_write_that_finds_no_room_leaves_the_old_object_whole(tmp_path: Path) -> None:
    storage = FileStorage()
    storage.write(f"file://{tmp_path}/a", b"old")

    with no_file_larger_than(1 << 16), pytest.raises(StoreUnavailable, match="File too large"):
        storage.write(f"file://{tmp_path}/a", bytes(1 << 20))

    assert storage.read(f"file://{tmp_path}/a")[0] == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
