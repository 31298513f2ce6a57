"""The commit of prepared data: the manifest last, every byte checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepared import (
    FORMAT,
    MANIFEST,
    Manifest,
    commit,
    fetch,
    read_manifest,
    row_id,
    row_place,
)
from finetune_trainer.storage import StoredObject
from finetune_trainer.verified import files_under
from memory_storage import MemoryStorage
from results import PREPARED

URI = "s3://out/prepared/d"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/index.arrow", "report.json"):
        path = tmp_path / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "local"


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return Manifest(
        format=FORMAT,
        digest="d",
        sources=("s3://raw/a.jsonl",),
        summary=PREPARED.data,
        splits={},
        places=(),
        rows_too_long=0,
        files=files_under(folder),
    )


@pytest.fixture
def storage(folder: Path, manifest: Manifest) -> MemoryStorage:
    storage = MemoryStorage()
    commit(storage, URI, manifest, folder)
    return storage


def test_what_was_committed_is_fetched(storage: MemoryStorage, manifest: Manifest, tmp_path: Path) -> None:
    assert fetch(storage, URI, manifest.sha256, tmp_path / "fetched") == manifest
    assert (tmp_path / "fetched" / MANIFEST).read_bytes() == manifest.encode()
    assert (tmp_path / "fetched" / "train" / "index.arrow").read_bytes() == b"train/index.arrow"


def test_the_manifest_is_written_last(folder: Path, manifest: Manifest) -> None:
    class Recording(MemoryStorage):
        def upload(self, path: Path, uri: str):  # type: ignore[no-untyped-def]
            order.append(uri)
            return super().upload(path, uri)

        def write(self, uri: str, content: bytes, **conditions):  # type: ignore[no-untyped-def]
            if uri.endswith("manifest.json"):
                order.append(uri)
            return super().write(uri, content, **conditions)

    order: list[str] = []
    commit(Recording(), URI, manifest, folder)
    assert order == [f"{URI}/report.json", f"{URI}/train/index.arrow", f"{URI}/manifest.json"]


def test_without_a_whole_commit_there_is_nothing(storage: MemoryStorage, manifest: Manifest) -> None:
    assert read_manifest(storage, URI) == manifest
    assert read_manifest(storage, "s3://out/prepared/other") is None
    kept = dict(storage.objects)
    storage.write(f"{URI}/report.json", b"shorter")
    assert read_manifest(storage, URI) is None
    storage.objects = dict(kept)
    storage.delete(f"{URI}/train/index.arrow")
    assert read_manifest(storage, URI) is None
    storage.objects = dict(kept)
    for content in (
        b"{}",
        b"no JSON",
        manifest.encode() + b"\n",
        json.dumps({**manifest.to_json(), "format": FORMAT + 1}).encode(),
    ):
        storage.write(f"{URI}/manifest.json", content)
        assert read_manifest(storage, URI) is None


def refused(storage: MemoryStorage, digest: str, folder: Path) -> StageFailed:
    with pytest.raises(StageFailed, match="is not what was prepared") as failed:
        fetch(storage, URI, digest, folder)
    assert failed.value.exit_code is ExitCode.MISMATCH
    return failed.value


def test_data_with_another_manifest_is_refused(storage: MemoryStorage, tmp_path: Path) -> None:
    refused(storage, "other", tmp_path / "fetched")


def test_training_reads_no_files_but_those_that_preparation_left(
    storage: MemoryStorage, manifest: Manifest, folder: Path, tmp_path: Path
) -> None:
    """Somebody may write others in their place, and a manifest that goes with them."""
    (folder / "report.json").write_bytes(b"REPORT.JSON")
    foreign = manifest.model_copy(update={"files": files_under(folder)})
    commit(storage, URI, foreign, folder)
    storage.write(f"{URI}/manifest.json", foreign.encode())
    storage.write(f"{URI}/report.json", b"REPORT.JSON")
    assert read_manifest(storage, URI) == foreign
    refused(storage, manifest.sha256, tmp_path / "fetched")


class Racing(MemoryStorage):
    """Another one commits the same data right before our change number `at`."""

    def __init__(self, at: int, theirs: Manifest, folder: Path) -> None:
        super().__init__()
        self._left = at
        self._commit = lambda: commit(self, URI, theirs, folder)
        self.ours: list[str] = []

    def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> StoredObject:
        self._left -= 1
        if self._left == 0:
            self._commit()
            self.ours = []
        self.ours.append(uri)
        return super().write(uri, content, if_match=if_match, if_absent=if_absent)


@pytest.mark.parametrize(("at", "still_written"), [(1, 1), (2, 2), (3, 1)])
def test_who_comes_second_uses_what_the_first_has_committed(
    folder: Path, manifest: Manifest, at: int, still_written: int
) -> None:
    theirs = manifest.model_copy(update={"places": ("theirs",)})
    storage = Racing(at, theirs, folder)
    assert commit(storage, URI, manifest, folder) == theirs
    assert read_manifest(storage, URI) == theirs
    assert len(storage.ours) == still_written


def test_data_that_is_no_longer_whole_is_replaced(storage: MemoryStorage, manifest: Manifest, folder: Path) -> None:
    storage.delete(f"{URI}/train/index.arrow")
    assert commit(storage, URI, manifest, folder) == manifest
    assert read_manifest(storage, URI) == manifest


def test_a_changed_byte_is_refused_by_file(storage: MemoryStorage, manifest: Manifest, tmp_path: Path) -> None:
    storage.write(f"{URI}/train/index.arrow", b"Train/index.arrow")
    failed = refused(storage, manifest.sha256, tmp_path / "fetched")
    assert f"{URI}/train/index.arrow" in failed.failure.message


def test_a_byte_damaged_on_the_wire_is_read_again(storage: MemoryStorage, manifest: Manifest, tmp_path: Path) -> None:
    class Noisy(MemoryStorage):
        downloads = 0

        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            stored = super().download(uri, path, **told)
            self.downloads += 1
            if self.downloads % 2:
                path.write_bytes(b"#" + path.read_bytes()[1:])
            return stored

    assert fetch(Noisy(storage.objects), URI, manifest.sha256, tmp_path / "fetched") == manifest


@pytest.mark.parametrize("path", ["../escaped", "/tmp/escaped", "train/../../escaped", ".hidden", "train//x", ""])
def test_a_manifest_that_would_put_a_file_elsewhere_is_none(
    storage: MemoryStorage, manifest: Manifest, tmp_path: Path, path: str
) -> None:
    foreign = manifest.to_json()
    foreign["files"][0]["path"] = path
    storage.write(f"{URI}/{path}", b"report.json")
    storage.write(f"{URI}/manifest.json", json.dumps(foreign).encode())
    assert read_manifest(storage, URI) is None


def test_a_row_id_names_file_and_line() -> None:
    sources = ("s3://raw/a.jsonl", "s3://raw/b.jsonl")
    assert row_place(row_id(1, 10**9), sources) == "s3://raw/b.jsonl:1000000000"
    assert row_place(row_id(0, 1), sources) == "s3://raw/a.jsonl:1"
    assert row_id(0, 10**12) < row_id(1, 1)
