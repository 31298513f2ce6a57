"""Preparation that is killed, raced, or whose store fails it: the same data comes out, or none."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot, write_rows
from fault_proxy import Fault, FaultProxy, fault_proxy
from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer.prepare import prepare
from finetune_trainer.prepared import MANIFEST, fetch
from finetune_trainer.storage.s3 import S3Storage
from prepare_pod import PreparePod, write_large_rows
from s3_storage import s3_storage
from s3server import S3Server

pytestmark = [pytest.mark.tier("s3"), pytest.mark.long]

storage_at = partial(s3_storage, read_timeout=0.2)


def a_pod(home: Path, server: S3Server, bucket: str, endpoint: str, output: str, node: int = 0) -> PreparePod:
    """Over raw rows and a model in the bucket, which are put there."""
    snapshot = prepare_snapshot(
        home,
        model={"uri": f"s3://{bucket}/model"},
        data={"sources": [{"uri": f"s3://{bucket}/raw/*.jsonl"}]},
        output={"uri": f"s3://{bucket}/{output}"},
        storage={"endpoint": endpoint, "region": server.region},
    )
    return PreparePod(home, snapshot, server.environment, node)


def put(storage: S3Storage, bucket: str, home: Path) -> None:
    for folder in ("model", "raw"):
        for path in (home / folder).iterdir():
            storage.upload(path, f"s3://{bucket}/{folder}/{path.name}")


def objects(storage: S3Storage, uri: str) -> dict[str, bytes]:
    """All of them, by what follows `uri`."""
    return {stored.uri.removeprefix(uri): storage.read(stored.uri)[0] for stored in storage.list(f"{uri}/")}


def said_of(result: dict[str, Any]) -> Prepared:
    return Prepared.parse(result["prepared"])


def at_request(method: str, part: str, then: Fault | None) -> Callable[[str, str], tuple[bool, Fault | None]]:
    """Kill as this request arrives; the store carries it out unless it is a `then`."""
    return lambda verb, path: (verb == method and part in path, then)


STEPS = {
    "it is tried what may be written": (1, at_request("DELETE", ".may-be-written", Fault.CUT_REQUEST)),
    "a worker reads rows": (2, at_request("GET", "/raw/1.jsonl", None)),
    "a file was not uploaded": (2, at_request("PUT", "/train/00000.arrow", Fault.CUT_REQUEST)),
    "the manifest was not written": (1, at_request("PUT", f"/{MANIFEST}", Fault.CUT_REQUEST)),
    "the manifest is written": (1, at_request("PUT", f"/{MANIFEST}", None)),
}
"""With the number of processes: two cost a second of imports more."""
FOLDERS = ("spill/barrier", "data/train")
"""That a step makes in scratch: the barrier, pass 2."""


def test_preparation_that_is_killed_in_any_step_gives_the_same_bytes_when_it_runs_again(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    storage = storage_at(s3_server, s3_server.endpoint)
    write_large_rows(tmp_path / "raw")
    undisturbed = a_pod(tmp_path, s3_server, s3_bucket, s3_server.endpoint, "undisturbed")
    put(storage, s3_bucket, tmp_path)
    scratch = tmp_path / "undisturbed"
    scratch.mkdir()
    # Here, in one process: a pod of its own would take two CPU seconds to start and to say the same.
    expected = prepare(undisturbed.snapshot, storage=storage, scratch=scratch, report=lambda _: None, cpuinfo="")
    with fault_proxy(s3_server.endpoint) as proxy:
        pod = a_pod(tmp_path, s3_server, s3_bucket, proxy.endpoint, "output", node=1)
        for name, (processes, is_here) in STEPS.items():
            killed_at_request(replace(pod, cores=processes), proxy, is_here, name)
        proxy.decide = lambda _method, _path: None
        pod.run()  # the store may still be carrying out what was asked last
        # Of a finished preparation nothing is left to kill; its manifest gone, all is done anew.
        (manifest,) = (stored.uri for stored in storage.list(f"s3://{s3_bucket}/output/") if MANIFEST in stored.uri)
        storage.delete(manifest)
        for made in FOLDERS:
            killed_at_folder(pod, made)
        found = said_of(pod.run())
    assert list(pod.scratch.iterdir()) == []
    assert found.data == expected.data
    assert found.data_digest == expected.data_digest
    assert objects(storage, f"s3://{s3_bucket}/output") == objects(storage, f"s3://{s3_bucket}/undisturbed")


def killed_at_request(
    pod: PreparePod, proxy: FaultProxy, is_here: Callable[[str, str], tuple[bool, Fault | None]], name: str
) -> None:
    reached = threading.Event()
    with pod.started() as process:

        def decide(method: str, path: str) -> Fault | None:
            here, then = is_here(method, path)
            if not here:
                return None
            reached.set()
            process.send_signal(signal.SIGKILL)
            process.wait()
            return then

        proxy.decide = decide
        _, said = process.communicate(timeout=120)
    assert reached.is_set(), f"never came to where {name}: {said.decode()}"
    assert process.returncode == -signal.SIGKILL


def killed_at_folder(pod: PreparePod, made: str) -> None:
    before = set(pod.scratch.iterdir())
    with pod.started() as process:
        while not any((folder / made).exists() for folder in set(pod.scratch.glob("prepare-*")) - before):
            assert process.poll() is None, f"ended before {made} was there"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL


def test_of_two_that_race_for_the_same_data_both_succeed_with_one_set_of_bytes(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    storage = storage_at(s3_server, s3_server.endpoint)
    write_large_rows(tmp_path / "raw")
    uploading = (threading.Event(), threading.Event())

    def wait_for_the_other(node: int) -> Callable[[str, str], None]:
        def decide(method: str, path: str) -> None:
            if method == "PUT" and path.endswith("/assignment.arrow"):
                uploading[node].set()
                uploading[1 - node].wait(120)

        return decide

    with fault_proxy(s3_server.endpoint) as left, fault_proxy(s3_server.endpoint) as right:
        pods = []
        for node, proxy in enumerate((left, right)):
            proxy.decide = wait_for_the_other(node)
            pods.append(a_pod(tmp_path, s3_server, s3_bucket, proxy.endpoint, "output", node))
        put(storage, s3_bucket, tmp_path)
        with ThreadPoolExecutor(2) as threads:
            one, other = (said_of(result) for result in threads.map(PreparePod.run, pods))
    assert all(event.is_set() for event in uploading)
    assert one == other
    listed = fetch(storage, one.data_uri, one.data_digest, tmp_path / "fetched")
    there = {name.partition(listed.digest + "/")[2] for name in objects(storage, f"s3://{s3_bucket}/output")}
    assert there == {MANIFEST, *(file.path for file in listed.files)}


def test_told_to_stop_it_ends_its_workers_and_leaves_nothing(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    storage = storage_at(s3_server, s3_server.endpoint)
    write_large_rows(tmp_path / "raw")
    arrived = threading.Event()
    leave = threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "GET" and "/raw/1.jsonl" in path:
            arrived.set()
            leave.wait(60)

    with fault_proxy(s3_server.endpoint) as proxy:
        pod = a_pod(tmp_path, s3_server, s3_bucket, proxy.endpoint, "output")
        put(storage, s3_bucket, tmp_path)
        # What is read for the fingerprint is held, too: this is to be in pass 1.
        proxy.decide = lambda method, path: hold(method, path) if workers_of(pod) else None
        with pod.started() as process:
            assert arrived.wait(120)
            workers = workers_of(pod)
            process.terminate()
            process.communicate(timeout=120)
        leave.set()
    assert process.returncode == ExitCode.STOPPED
    result = json.loads((tmp_path / "pod-0" / "result.json").read_bytes())
    assert result["failure"]["reason"] == "Stopped"
    assert workers
    assert not workers & running()
    assert list(pod.scratch.iterdir()) == []
    assert objects(storage, f"s3://{s3_bucket}/output") == {}


def test_a_worker_that_the_kernel_kills_ends_preparation_so_that_it_is_tried_again(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    storage = storage_at(s3_server, s3_server.endpoint)
    write_large_rows(tmp_path / "raw")
    with fault_proxy(s3_server.endpoint) as proxy:
        pod = a_pod(tmp_path, s3_server, s3_bucket, proxy.endpoint, "output")
        put(storage, s3_bucket, tmp_path)

        def kill(method: str, path: str) -> None:
            if method == "GET" and "/raw/" in path:
                for worker in workers_of(pod):
                    os.kill(worker, signal.SIGKILL)

        proxy.decide = kill
        with pod.started() as process:
            process.communicate(timeout=120)
    assert process.returncode == ExitCode.RETRY
    failure = json.loads((tmp_path / "pod-0" / "result.json").read_bytes())["failure"]
    assert failure["reason"] == "WorkerDied"
    assert "was ended by SIGKILL" in failure["message"]
    assert f"s3://{s3_bucket}/raw/" in failure["message"]
    assert list(pod.scratch.iterdir()) == []


def running() -> set[int]:
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()}


def workers_of(pod: PreparePod) -> set[int]:
    """Processes that have a file of pass 1 open."""
    found = set()
    for pid in running():
        try:
            files = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if any(str(pod.scratch) in file and "/spill/" in file for file in files):
            found.add(pid)
    return found


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY, Fault.STALL])
def test_a_store_that_fails_the_first_try_of_each_read_of_rows_and_write_of_data_changes_nothing(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, fault: Fault
) -> None:
    direct = storage_at(s3_server, s3_server.endpoint)
    write_rows(tmp_path / "raw" / "rows.jsonl", map(pair, range(300)))
    tried: list[tuple[str, str]] = []

    def decide(method: str, path: str) -> Fault | None:
        if (method, "/raw/" in path) != ("GET", True) and (method, "/prepared/" in path) != ("PUT", True):
            return None
        tried.append((method, path))
        return fault if tried.count((method, path)) == 1 else None

    made = {}
    with fault_proxy(s3_server.endpoint) as proxy:
        for output, endpoint in (("plain", s3_server.endpoint), ("faulty", proxy.endpoint)):
            pod = a_pod(tmp_path, s3_server, s3_bucket, endpoint, output)
            if not made:
                put(direct, s3_bucket, tmp_path)
            proxy.decide = decide
            scratch = tmp_path / output
            scratch.mkdir()
            made[output] = prepare(
                pod.snapshot,
                storage=storage_at(s3_server, endpoint),
                scratch=scratch,
                report=lambda _: None,
                cpuinfo="",
            )
            assert list(scratch.iterdir()) == []
    assert {method for method, _ in tried} == {"GET", "PUT"}
    assert made["faulty"].data_digest == made["plain"].data_digest
    assert objects(direct, f"s3://{s3_bucket}/faulty") == objects(direct, f"s3://{s3_bucket}/plain")
