"""Every format out of a real S3 server, in parts, and one that is replaced meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fault_proxy import Fault, FaultProxy, fault_proxy
from finetune_api.spec import Source
from finetune_trainer.prepare.read import BadLine, Notes, RawRow, find_objects, read_rows
from finetune_trainer.storage import PreconditionFailed
from finetune_trainer.storage.s3 import S3Storage
from raw_files import in_every_format
from s3_storage import s3_storage
from s3server import S3Server

pytestmark = pytest.mark.tier("s3")
COLUMNS = {
    "prompt": [f"Où est le n° {number} ?\n{random.Random(number).randbytes(100).hex()}" for number in range(400)],
    "completion": [f"Là-bas, à {number} m." for number in range(400)],
}
ROWS = [dict(zip(COLUMNS, values, strict=True)) for values in zip(*COLUMNS.values(), strict=True)]
PART = 12_000

storage_through = partial(s3_storage, ahead_size=PART)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.endpoint) as proxy:
        yield proxy


def rows_in(storage: S3Storage, bucket: str, scratch: Path) -> dict[str, list[RawRow | BadLine]]:
    found = {}
    for raw in find_objects(storage, [Source(uri=f"s3://{bucket}/**")]):
        with storage.open(raw.uri) as stream:
            found[raw.uri.rpartition("/")[2]] = list(read_rows(stream, raw, scratch=scratch, notes=Notes()))
    return found


def test_every_format_is_read_in_parts_though_one_in_three_requests_fails(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    files = in_every_format(COLUMNS)
    direct = storage_through(s3_server, s3_server.endpoint)
    for name, content in files.items():
        direct.write(f"s3://{s3_bucket}/raw/{name}", content)
        assert len(content) > PART, name
    dice = random.Random(0)
    faults = (Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY)
    proxy.decide = lambda _method, _path: dice.choice(faults) if dice.random() < 1 / 3 else None

    found = rows_in(storage_through(s3_server, proxy.endpoint), s3_bucket, tmp_path)

    assert found.keys() == files.keys()
    for name, rows in found.items():
        assert [row.fields for row in rows if isinstance(row, RawRow)] == ROWS, name
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", in_every_format(COLUMNS))
def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path, name: str
) -> None:
    uri = f"s3://{s3_bucket}/{name}"
    content = in_every_format(COLUMNS)[name]
    direct = storage_through(s3_server, s3_server.endpoint)
    direct.write(uri, content)
    gets = 0

    def replace_after_the_first_part(method: str, _path: str) -> None:
        nonlocal gets
        gets += method == "GET"
        if gets == 2:
            direct.write(uri, content + b"\n")

    storage = storage_through(s3_server, proxy.endpoint)
    (raw,) = find_objects(storage, [Source(uri=uri)])
    proxy.decide = replace_after_the_first_part
    with pytest.raises(PreconditionFailed), storage.open(raw.uri) as stream:
        list(read_rows(stream, raw, scratch=tmp_path, notes=Notes()))
    assert list(tmp_path.iterdir()) == []
