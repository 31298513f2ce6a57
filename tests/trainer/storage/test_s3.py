"""S3 under faults: a real server behind a proxy that breaks requests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme
from botocore.exceptions import ClientError

from fault_proxy import Fault, FaultProxy, fault_proxy
from finetune_trainer.storage import AccessDenied, KeysRefused, NotFound, PreconditionFailed, StoreUnavailable
from finetune_trainer.storage.calls import Patience
from finetune_trainer.storage.s3 import connect
from s3_storage import s3_storage
from s3server import S3Server

pytestmark = pytest.mark.tier("s3")
PART = 5 << 20

storage_through = partial(s3_storage, part_size=PART)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY])
def test_a_burst_of_faults_is_outlasted(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path, fault: Fault
) -> None:
    storage = storage_through(s3_server, proxy.endpoint)
    content = random.Random(0).randbytes(2 * PART + 7)
    (tmp_path / "up").write_bytes(content)
    dice = random.Random(1)
    # CompleteMultipartUpload (POST …?uploadId=) cut off after it was carried out is a case of its own below.
    proxy.decide = lambda method, _path: fault if method != "POST" and dice.random() < 0.5 else None

    storage.upload(tmp_path / "up", f"s3://{s3_bucket}/a")
    storage.download(f"s3://{s3_bucket}/a", tmp_path / "down")

    assert (tmp_path / "down").read_bytes() == content


def test_a_create_whose_answer_was_lost_has_won(s3_server: S3Server, s3_bucket: str, proxy: FaultProxy) -> None:
    storage = storage_through(s3_server, proxy.endpoint)
    proxy.fail_first(1, Fault.CUT_REPLY, method="PUT")

    written = storage.write(f"s3://{s3_bucket}/a", b"mine", if_absent=True)

    assert storage.read(f"s3://{s3_bucket}/a") == (b"mine", written.etag)
    assert len([line for line in proxy.seen if line.startswith("PUT")]) == 2


def test_a_swap_whose_answer_was_lost_has_won(s3_server: S3Server, s3_bucket: str, proxy: FaultProxy) -> None:
    storage = storage_through(s3_server, proxy.endpoint)
    etag = storage.write(f"s3://{s3_bucket}/a", b"old").etag
    proxy.fail_first(1, Fault.CUT_REPLY, method="PUT")

    assert storage.write(f"s3://{s3_bucket}/a", b"new", if_match=etag) == storage.stat(f"s3://{s3_bucket}/a")


def test_a_swap_that_another_writer_won_is_refused_also_after_a_lost_request(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy
) -> None:
    ours = storage_through(s3_server, proxy.endpoint)
    theirs = storage_through(s3_server, s3_server.endpoint)
    etag = ours.write(f"s3://{s3_bucket}/a", b"old").etag
    theirs.write(f"s3://{s3_bucket}/a", b"theirs")
    proxy.fail_first(1, Fault.CUT_REQUEST, method="PUT")

    with pytest.raises(PreconditionFailed):
        ours.write(f"s3://{s3_bucket}/a", b"ours", if_match=etag)
    assert ours.read(f"s3://{s3_bucket}/a")[0] == b"theirs"


def test_a_completed_upload_whose_answer_was_lost_is_done(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    storage = storage_through(s3_server, proxy.endpoint)
    (tmp_path / "up").write_bytes(random.Random(2).randbytes(PART + 1))
    answers = iter([Fault.CUT_REPLY])
    proxy.decide = lambda method, path: next(answers, None) if method == "POST" and "uploadId=" in path else None

    uploaded = storage.upload(tmp_path / "up", f"s3://{s3_bucket}/a")

    assert uploaded == storage.stat(f"s3://{s3_bucket}/a")
    assert next(answers, None) is None


def test_a_store_that_stays_busy_is_unavailable_and_says_where(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy
) -> None:
    seconds = iter(range(10_000))
    patience = Patience(seconds=20, clock=lambda: float(next(seconds)), sleep=lambda _: None, jitter=lambda: 0)
    storage = storage_through(s3_server, proxy.endpoint, patience=patience)
    proxy.decide = lambda _method, _path: Fault.BUSY

    with pytest.raises(StoreUnavailable, match=r"no usable answer from http://127.*SlowDown"):
        storage.read(f"s3://{s3_bucket}/a")
    assert len(proxy.seen) == 21


def test_an_endpoint_that_nobody_serves_is_told_early(s3_server: S3Server) -> None:
    seconds = iter(range(10_000))
    patience = Patience(clock=lambda: float(next(seconds)), sleep=lambda _: None)

    with pytest.raises(StoreUnavailable, match=r"http://127.0.0.1:1 \(spec.storage.endpoint\) in 30 s"):
        storage_through(s3_server, "http://127.0.0.1:1", patience=patience).read("s3://bucket/a")


def test_expired_keys_may_have_been_renewed_for_the_next_attempt(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy
) -> None:
    seconds = iter(range(10_000))
    patience = Patience(clock=lambda: float(next(seconds)), sleep=lambda _: None)
    storage = storage_through(s3_server, proxy.endpoint, patience=patience)
    storage.write(f"s3://{s3_bucket}/a", b"")
    proxy.decide = lambda _method, _path: Fault.EXPIRED

    with pytest.raises(StoreUnavailable, match=r"in 30 s.*ExpiredToken"):
        storage.read(f"s3://{s3_bucket}/a")

    proxy.fail_first(2, Fault.EXPIRED, method="GET")
    assert storage.read(f"s3://{s3_bucket}/a")[0] == b""


def test_wrong_keys_are_told_from_a_lack_of_rights(s3_server: S3Server, s3_bucket: str) -> None:
    storage = storage_through(s3_server, s3_server.endpoint, secret="wrong")

    with pytest.raises(AccessDenied, match=r"spec\.storage\.secretName"):
        storage.stat(f"s3://{s3_bucket}/a")  # the answer to HEAD has no body that could say more
    for refused in (
        lambda: storage.read(f"s3://{s3_bucket}/a"),
        lambda: list(storage.list(f"s3://{s3_bucket}/")),
        lambda: storage.write(f"s3://{s3_bucket}/a", b""),
    ):
        with pytest.raises(KeysRefused, match=r"SignatureDoesNotMatch.*spec\.storage\.secretName"):
            refused()


def test_a_missing_bucket_is_not_found(s3_server: S3Server) -> None:
    storage = storage_through(s3_server, s3_server.endpoint)

    with pytest.raises(NotFound, match="NoSuchBucket"):
        list(storage.list("s3://no-such-bucket/"))
    with pytest.raises(NotFound, match="NoSuchBucket"):
        storage.write("s3://no-such-bucket/a", b"")


def test_an_object_that_changes_during_a_download_is_never_mixed(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    direct = storage_through(s3_server, s3_server.endpoint)
    direct.write(f"s3://{s3_bucket}/a", b"a" * (PART + 1))
    storage = storage_through(s3_server, proxy.endpoint)

    def replace_before_the_first_range(method: str, _path: str) -> None:
        if method == "GET":
            direct.write(f"s3://{s3_bucket}/a", b"b" * (PART + 1))

    proxy.decide = replace_before_the_first_range
    with pytest.raises(PreconditionFailed):
        storage.download(f"s3://{s3_bucket}/a", tmp_path / "down")
    assert list(tmp_path.iterdir()) == []


def test_what_has_arrived_is_told_and_a_download_ends_when_that_raises(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    storage = storage_through(s3_server, proxy.endpoint)
    content = random.Random(4).randbytes(3 * PART + 1)
    (tmp_path / "up").write_bytes(content)
    storage.upload(tmp_path / "up", f"s3://{s3_bucket}/a")
    arrived: list[int] = []
    storage.download(f"s3://{s3_bucket}/a", tmp_path / "down", arrived=arrived.append)
    assert sorted(arrived) == [1, PART, PART, PART]
    (tmp_path / "down").unlink()

    def unwanted(_num_bytes: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        storage.download(f"s3://{s3_bucket}/a", tmp_path / "down", arrived=unwanted)
    assert [path.name for path in tmp_path.iterdir()] == ["up"]


def test_the_content_of_an_object_whose_checksum_the_store_does_not_keep_is_read(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy
) -> None:
    content = random.Random(3).randbytes(10 * PART + 1)
    client = connect(
        endpoint=s3_server.endpoint,
        region=s3_server.region,
        access_key_id=s3_server.access_key_id,
        secret_access_key=s3_server.secret_access_key,
    )
    client.put_object(Bucket=s3_bucket, Key="a", Body=content)
    proxy.fail_first(2, Fault.CUT_BODY, method="GET")

    assert storage_through(s3_server, proxy.endpoint).checksum(f"s3://{s3_bucket}/a") == crc64nvme(content)
    # Eight parts at once, then three, and two that had to be asked for again.
    assert len([line for line in proxy.seen if line.startswith("GET")]) == 13


def test_the_store_itself_refuses_a_wrong_checksum(s3_server: S3Server, s3_bucket: str) -> None:
    client = connect(
        endpoint=s3_server.endpoint,
        region=s3_server.region,
        access_key_id=s3_server.access_key_id,
        secret_access_key=s3_server.secret_access_key,
    )

    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=s3_bucket, Key="a", Body=b"damaged", ChecksumCRC64NVME="AAAAAAAAAAA=")
    assert storage_through(s3_server, s3_server.endpoint).stat(f"s3://{s3_bucket}/a") is None
