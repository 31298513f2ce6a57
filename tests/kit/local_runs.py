"""`finetune run` in a process of its own, with the real trainer, on a model and rows that are tiny."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from corpora import pair, write_rows
from finetune_api.progress import Activity
from finetune_api.snapshot import Snapshot
from finetune_trainer.checkpoint.layout import Entry, Head
from finetune_trainer.progress import ProgressFile
from finetune_trainer.publication import Manifest, OutputManifest
from finetune_trainer.storage.s3 import S3Storage, connect
from jobs import merge
from local_cli import LocalRun
from s3server import S3Server
from tiny_models import tiny_model

NUM_ROWS = 400
COMMAND = Path(sys.executable).with_name("finetune")
_PATIENCE = 120.0


def make_materials(folder: Path) -> Path:
    """`model/` and `raw/rows.jsonl`. Returns the folder."""
    tiny_model(folder / "model", hidden_size=64)
    write_rows(folder / "raw" / "rows.jsonl", map(pair, range(NUM_ROWS)))
    return folder


def tiny_spec(materials: str) -> dict[str, Any]:
    """Some 80 steps of 20 to 50 ms for a gang of two, with a checkpoint each second; all of them are kept."""
    return {
        "model": {"uri": f"{materials}/model"},
        "data": {"sources": [{"uri": f"{materials}/raw/*.jsonl"}]},
        "method": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
        "training": {
            "epochs": 3,
            "sequenceLength": 512,
            "globalBatchSize": 2,
            "learningRate": 0.003,
            "precision": "Float32",
        },
        "evaluation": {"everySteps": 25, "generateRows": 2, "maxNewTokens": 8},
        "checkpoint": {"intervalSeconds": 1, "keepLast": 100},
    }


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Raises AssertionError, with what the command said, when it ends before the condition holds."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert process.poll() is None, f"ended too early:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, f"did not happen in {_PATIENCE:.0f} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Publication:
    """A finished model as it lies on storage, its files by their paths."""

    pointer: OutputManifest
    manifest: Manifest
    folder: Path
    files: Mapping[str, bytes]

    def json(self, path: str) -> Any:
        return json.loads(self.files[path])


@dataclass(frozen=True)
class TinyRun(LocalRun):
    """A job of two nodes on the CPU in a folder of its own, over model and rows that jobs share."""

    materials: Path

    def in_folder(self, folder: Path) -> Self:
        """Another one over the same model and rows."""
        return replace(self, folder=folder)

    def write(self, **spec: Any) -> Path:
        return super().write(**merge(tiny_spec(f"file://{self.materials}"), spec))

    def environ(self) -> dict[str, str]:
        """Of a user whose home lies in the folder, in a wide terminal."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {**os.environ, "HOME": str(home), "COLUMNS": "500"}

    def start(self, manifest: Path, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, "run", manifest, "--state", self.state],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environ(), **(environ or {})},
            start_new_session=True,
        )

    def run(
        self, manifest: Path, environ: Mapping[str, str] | None = None, *, within: float = _PATIENCE
    ) -> tuple[int, str]:
        """Exit status and all that it said. Raises TimeoutExpired."""
        with self.started(manifest, environ) as process:
            said, _ = process.communicate(timeout=within)
        return process.returncode, said

    @contextmanager
    def started(self, manifest: Path, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """The command, killed at the end if it still runs; its pods' processes then end with it."""
        process = self.start(manifest, environ)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def rank(self, number: int) -> int:
        """Process id of a running rank."""
        for pid in self.processes():
            process = Path("/proc", str(pid))
            environ = (process / "environ").read_bytes().split(b"\0")
            if f"RANK={number}".encode() in environ and b"finetune_trainer.rank" in (process / "cmdline").read_bytes():
                return pid
        raise AssertionError(f"rank {number} does not run")

    def snapshots(self) -> list[Snapshot]:
        """What the pods that exist now were told."""
        return [Snapshot.model_validate_json(path.read_bytes()) for path in self.state.glob("*/pods/*/*/snapshot.json")]

    def training_since(self, step: int) -> bool:
        """Whether a rank that runs now has taken a step after this one."""
        heard = [ProgressFile(path).heard() for path in self.state.glob("*/pods/*/*/ranks/0/progress.json")]
        return any((told[0].step or 0) > step and told[0].activity is Activity.TRAINING for told in heard if told)

    @property
    def head(self) -> Head | None:
        """HEAD.json of the one run of this output."""
        found = list(self.output.glob("runs/*/HEAD.json"))
        assert len(found) < 2
        return Head.model_validate_json(found[0].read_bytes()) if found else None

    @property
    def checkpoints(self) -> tuple[Entry, ...]:
        return self.head.checkpoints if self.head else ()

    @property
    def published(self) -> Publication:
        pointer = OutputManifest.model_validate_json((self.output / "manifest.json").read_bytes())
        path = self.output / pointer.manifest
        files = {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in path.parent.rglob("*.*")}
        return Publication(pointer, Manifest.model_validate_json(path.read_bytes()), path.parent, files)


@dataclass(frozen=True)
class RunOnS3(TinyRun):
    """Model, rows and output lie in a bucket of its own, and its keys in the caller's environment."""

    server: S3Server
    bucket: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def output(self) -> Path:
        return self.server.folder_of(self.bucket) / "output"

    def make_bucket(self) -> None:
        """With model and rows."""
        self.server.create_bucket(self.bucket)
        keys = {"access_key_id": self.server.access_key_id, "secret_access_key": self.server.secret_access_key}
        client = connect(endpoint=self.server.endpoint, region=self.server.region, **keys)
        storage = S3Storage(client, endpoint=self.server.endpoint)
        for path in self.materials.rglob("*.*"):
            storage.upload(path, f"{self.uri}/{path.relative_to(self.materials)}")

    def write(self, **spec: Any) -> Path:
        store = {"endpoint": self.server.endpoint, "region": self.server.region, "secretName": "s3-keys"}
        on_s3 = tiny_spec(self.uri) | {"output": {"uri": f"{self.uri}/output"}, "storage": store}
        return LocalRun.write(self, **merge(on_s3, spec))

    def environ(self) -> dict[str, str]:
        keys = {
            "AWS_ACCESS_KEY_ID": self.server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_access_key,
        }
        return super().environ() | keys


@contextmanager
def stopped_at_the_end(run: TinyRun) -> Iterator[TinyRun]:
    """No process of it is left behind."""
    try:
        yield run
    finally:
        for pid in run.processes():
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Succeeded:
    """A job that came to its end undisturbed."""

    run: TinyRun
    manifest: Path
    said: str

    @property
    def published(self) -> Publication:
        return self.run.published
