"""`finetune run` with model, rows and output on a real S3 server, and keys from the caller's environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.storage.s3 import S3Storage, connect
from local_runs import Succeeded, TinyRun
from s3server import S3Server

pytestmark = pytest.mark.tier("s3")


def keys(server: S3Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": server.access_key_id, "AWS_SECRET_ACCESS_KEY": server.secret_access_key}


def spec_on(server: S3Server, bucket: str) -> Mapping[str, Any]:
    return {
        "model": {"uri": f"s3://{bucket}/model"},
        "data": {"sources": [{"uri": f"s3://{bucket}/raw/*.jsonl"}]},
        "output": {"uri": f"s3://{bucket}/output"},
        "storage": {"endpoint": server.endpoint, "region": server.region, "secretName": "s3-keys"},
    }


@pytest.fixture
def storage(s3_server: S3Server, s3_bucket: str, materials: Path) -> S3Storage:
    """Holds model and rows in the bucket."""
    client = connect(
        endpoint=s3_server.endpoint,
        region=s3_server.region,
        access_key_id=s3_server.access_key_id,
        secret_access_key=s3_server.secret_access_key,
    )
    storage = S3Storage(client, endpoint=s3_server.endpoint)
    for path in materials.rglob("*.*"):
        storage.upload(path, f"s3://{s3_bucket}/{path.relative_to(materials)}")
    return storage


def test_all_of_it_on_s3_is_the_same_model(
    s3_server: S3Server, s3_bucket: str, storage: S3Storage, tiny_run: TinyRun, uninterrupted: Succeeded
) -> None:
    status, said = tiny_run.run(tiny_run.write(**spec_on(s3_server, s3_bucket)), keys(s3_server))

    assert status == 0, said
    (report,) = [stored.uri for stored in storage.list(f"s3://{s3_bucket}/output/runs/") if "report.html" in stored.uri]
    assert report in said
    folder = report.removesuffix("/reports/report.html")
    expected = uninterrupted.published
    for path in ("model/adapter_model.safetensors", "reports/metrics.json"):
        assert storage.read(f"{folder}/{path}")[0] == expected.files[path]
    secret = s3_server.secret_access_key
    assert secret not in said
    assert files_that_hold(secret, tiny_run.folder) == []
    assert [stored.uri for stored in storage.list(f"s3://{s3_bucket}/") if holds(secret, storage, stored.uri)] == []
    assert not tiny_run.output.exists()
    assert tiny_run.processes() == []


def files_that_hold(secret: str, folder: Path) -> list[Path]:
    """Logs, statuses, snapshots, last words: whatever a run has left there."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found != []
    return [path for path in found if secret.encode() in path.read_bytes()]


def holds(secret: str, storage: S3Storage, uri: str) -> bool:
    return secret.encode() in storage.read(uri)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "canary-of-a-key"}, id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "canary-of-a-key"}, id="id"),
        pytest.param({"AWS_SESSION_TOKEN": "canary-of-a-key\n"}, id="line break"),
    ],
)
def test_wrong_keys_are_told_at_once_and_shown_to_nobody(
    s3_server: S3Server, s3_bucket: str, storage: S3Storage, tiny_run: TinyRun, wrong: dict[str, str]
) -> None:
    status, said = tiny_run.run(
        tiny_run.write(**spec_on(s3_server, s3_bucket)), {**keys(s3_server), **wrong}, within=60
    )

    assert status == 1
    assert "Change      spec.storage.secretName" in said
    assert "Traceback" not in said
    assert "canary-of-a-key" not in said
    assert files_that_hold("canary-of-a-key", tiny_run.folder) == []
    assert tiny_run.processes() == []
