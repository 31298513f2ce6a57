"""What reading ahead gains: pass 1 over a file in a real S3 server that answers as slowly as S3 does.

    PYTHONPATH=tests/kit python tests/benchmarks/prepare/ahead.py [megabytes]

Each request waits 30 ms, and a part of the file for as long as one connection to S3 takes to send it. The best there
can be is the longer of reading alone and working alone; without reading ahead each part is fetched when it is needed.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

from corpus import write_corpus

from binaries import VERSITYGW, ensure
from fault_proxy import fault_proxy
from finetune_api.spec import Data, Source, Task, TaskType
from finetune_trainer.prepare.read import RawObject, find_objects
from finetune_trainer.prepare.scan import Scan
from finetune_trainer.storage import Storage, StoredObject, open_storage
from finetune_trainer.storage.ahead import PART_BYTES
from finetune_trainer.storage.s3 import S3Storage, connect
from finetune_trainer.tasks import task_for
from s3server import S3Server

REQUEST_SECONDS: Final = 0.03
CONNECTION_RATE: Final = 90e6
"""Bytes a second: AWS names 85 to 90 MB/s for one connection."""
ROUNDS: Final = 3
_RAW: Final = "s3://bucket/raw"


class OnDemand(S3Storage):
    """Fetches each part when it is needed: a stream without reading ahead."""

    def open(self, uri: str) -> BinaryIO:
        stored = self.stat(uri)
        assert stored is not None
        return io.BufferedReader(_Parts(self, stored), 1 << 20)


class _Parts(io.RawIOBase):
    def __init__(self, storage: S3Storage, stored: StoredObject) -> None:
        self._starts = iter(range(0, stored.size, PART_BYTES))
        self._storage = storage
        self._stored = stored
        self._part = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part and (start := next(self._starts, None)) is not None:
            self._part = self._storage.read_exactly(self._stored, start, min(start + PART_BYTES, self._stored.size))
        number = min(len(buffer), len(self._part))
        buffer[:number], self._part = self._part[:number], self._part[number:]
        return number


def serve(folder: str) -> None:
    """The server and the slow way to it, in a process of their own: prints where until its input ends."""
    server = S3Server(ensure(VERSITYGW, VERSITYGW.commands, os.environ, lambda _: None), Path(folder))
    server.start()
    server.create_bucket("bucket")

    def wait(method: str, path: str) -> None:
        time.sleep(REQUEST_SECONDS + (PART_BYTES / CONNECTION_RATE if method == "GET" and "/raw/" in path else 0))

    try:
        with fault_proxy(server.endpoint) as proxy:
            proxy.decide = wait
            print(json.dumps({**server.environment, "endpoint": proxy.endpoint}), flush=True)
            sys.stdin.read()
    finally:
        server.stop()


@contextmanager
def slow_store(folder: Path) -> Iterator[str]:
    """The endpoint of such a process; its keys are in the environment."""
    command = [sys.executable, __file__, "serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            endpoint = told.pop("endpoint")
            os.environ |= told
            yield endpoint
        finally:
            process.stdin.close()


def seconds_of_reading(storage: S3Storage, raw: RawObject) -> float:
    """Of all parts, one after the other."""
    started = time.monotonic()
    for start in range(0, raw.stored.size, PART_BYTES):
        storage.read_exactly(raw.stored, start, min(start + PART_BYTES, raw.stored.size))
    return time.monotonic() - started


def seconds_of_scan(storage: Storage, raw: RawObject) -> float:
    """Of pass 1 over the object."""
    with TemporaryDirectory() as folder:
        task, data = task_for(Task(type=TaskType.INSTRUCTION)), Data(sources=(Source(uri=raw.uri),))
        scan = Scan(task, data, (raw.uri,), storage, Path(folder))
        started = time.monotonic()
        scan((0, raw), lambda _: None)
        return time.monotonic() - started


def main(megabytes: int = 100) -> None:
    """Print a table."""
    with TemporaryDirectory() as name, slow_store(Path(name) / "store") as endpoint:
        write_corpus(Path(name) / "raw", "chat", megabytes)
        whole = Path(name) / "whole.jsonl"
        whole.write_bytes(b"".join(path.read_bytes() for path in sorted((Path(name) / "raw").glob("*.jsonl"))))
        ahead = S3Storage(connect(endpoint=endpoint), endpoint=endpoint)
        on_demand = OnDemand(connect(endpoint=endpoint), endpoint=endpoint)
        ahead.upload(whole, f"{_RAW}/whole.jsonl")
        (stored,) = find_objects(ahead, [Source(uri=f"{_RAW}/whole.jsonl")])
        (local,) = find_objects(open_storage(), [Source(uri=f"file://{whole}")])
        found = [
            (
                seconds_of_reading(ahead, stored),
                seconds_of_scan(open_storage(), local),
                seconds_of_scan(on_demand, stored),
                seconds_of_scan(ahead, stored),
            )
            for _ in range(ROUNDS)
        ]
    read, work, before, after = (median(values) for values in zip(*found, strict=True))
    print("| reading alone | work alone | on demand | ahead | the best there can be |\n|---:|---:|---:|---:|---:|")
    print(f"| {read:.2f} s | {work:.2f} s | {before:.2f} s | {after:.2f} s | {max(read, work):.2f} s |")
    print(f"{megabytes} MB: {before / after:.2f} times as fast, {after / max(read, work):.2f} times the best")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
