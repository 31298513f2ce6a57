"""Both stages with all that they read and write behind a proxy that breaks every third request."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pods
from corpora import prepare_snapshot
from fault_proxy import Fault, FaultProxy, fault_proxy
from finetune_api.contract import Stage
from finetune_api.result import Prepared, Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.commit import read_head
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from preloaded import Preloaded
from s3server import S3Server

pytestmark = pytest.mark.tier("s3")


def prepare_stage(folder: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    stage = Snapshot.parse(snapshot)
    storage = open_storage(endpoint=stage.spec.storage.endpoint)
    return prepare(stage, storage=storage, scratch=Path(folder), report=lambda _: None, cpuinfo="").to_json()


def pod(folder: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    return pods.run_pod(folder, snapshot)


def look(uri: str, endpoint: str) -> dict[str, Any]:
    storage = open_storage(endpoint=endpoint)
    head = read_head(storage, uri)
    return {"head": head.to_json() if head else None, "there": [stored.uri for stored in storage.list(f"{uri}/")]}


@contextmanager
def every_third_request_breaks(server: S3Server) -> Iterator[FaultProxy]:
    dice = random.Random(0)
    faults = [Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY]

    def decide(_method: str, _path: str) -> Fault | None:
        time.sleep(0.02 * dice.random())
        return dice.choice(faults) if dice.random() < 0.3 else None

    with fault_proxy(server.endpoint) as proxy:
        proxy.decide = decide
        yield proxy


def test_a_job_outlasts_a_store_that_is_slow_and_breaks_every_third_request(
    preloaded: Preloaded, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    base = f"s3://{s3_bucket}"
    with every_third_request_breaks(s3_server) as proxy:
        snapshot = prepare_snapshot(
            tmp_path,
            model={"uri": f"{base}/model"},
            data={"sources": [{"uri": f"{base}/raw/*.jsonl"}]},
            training={"sequenceLength": 256, "globalBatchSize": 4, "epochs": 1, "precision": "Float32"},
            checkpoint={"intervalSeconds": 1, "keepLast": 1},
            evaluation={"everySteps": 10, "maxRows": 10, "generateRows": 1, "maxNewTokens": 2},
            workers={"nodes": 2},
            output={"uri": f"{base}/output"},
            storage={"endpoint": proxy.endpoint},
        )
        put(s3_server, s3_bucket, tmp_path)
        (found,) = preloaded.run(
            prepare_stage, environ=s3_server.environment, folder=str(tmp_path), snapshot=snapshot.to_json()
        )
        prepared = Prepared.parse(found)
        train = snapshot.model_copy(update={"stage": Stage.TRAIN, "prepared": prepared})
        answers = preloaded.run(
            pod, world_size=2, environ=s3_server.environment, folder=str(tmp_path / "train"), snapshot=train.to_json()
        )
        num_requests = len(proxy.seen)

    assert [(answer["code"], answer["result"].get("failure")) for answer in answers] == [(0, None)] * 2
    published = Published.parse(answers[0]["result"]["published"])
    assert published.step == prepared.resolved.total_steps
    uri = f"{base}/output/runs/{prepared.run}"
    (seen,) = preloaded.run(look, environ=s3_server.environment, uri=uri, endpoint=s3_server.endpoint)
    assert seen["head"]["published"]["step"] == published.step
    assert {published.report_uri, published.manifest_uri, f"{published.model_uri}/adapter_model.safetensors"} <= {
        *seen["there"]
    }
    assert num_requests > 100


def put(server: S3Server, bucket: str, home: Path) -> None:
    """Model and rows, not through the proxy."""
    from finetune_trainer.storage.s3 import S3Storage, connect

    client = connect(
        endpoint=server.endpoint,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
    )
    storage = S3Storage(client, endpoint=server.endpoint)
    for folder in ("model", "raw"):
        for path in (home / folder).iterdir():
            storage.upload(path, f"s3://{bucket}/{folder}/{path.name}")
