"""What training finds on its node: the files that were checked, and no others."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from corpora import prepare_snapshot
from finetune_api.result import Prepared
from finetune_trainer import materials
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import AccessDenied, Storage, StoredObject, open_storage
from jobs import make_job
from memory_storage import MemoryStorage

MODEL = "s3://models/m"


@pytest.fixture
def found(tmp_path: Path) -> Prepared:
    snapshot = prepare_snapshot(tmp_path)
    (tmp_path / "prepare").mkdir()
    return prepare(snapshot, storage=open_storage(), scratch=tmp_path / "prepare", report=lambda _: None, cpuinfo="")


def in_memory(home: Path, found: Prepared, storage: MemoryStorage | None = None) -> MemoryStorage:
    """The same model and data as objects."""
    storage = storage or MemoryStorage()
    for folder, uri in ((home / "model", MODEL), (Path(found.data_uri.removeprefix("file://")), "s3://data")):
        for path in folder.rglob("*"):
            if path.is_file():
                storage.upload(path, f"{uri}/{path.relative_to(folder).as_posix()}")
    return storage


def fetch(uri: str, found: Prepared, storage: Storage, scratch: Path) -> materials.Materials:
    spec = make_job(model={"uri": uri}).spec
    materials.fetch(spec, found, storage=storage, scratch=scratch, report=lambda done, total: None)
    return materials.places(scratch)


def test_a_folder_of_this_machine_and_objects_give_the_same_files(tmp_path: Path, found: Prepared) -> None:
    (tmp_path / "model" / "adapter_config.json").write_text('{"base_model_name_or_path": "/another/model"}')
    (tmp_path / "model" / "tokenizer.model.bak").write_text("not asked for")
    local = fetch(f"file://{tmp_path}/model", found, open_storage(), tmp_path / "a")
    objects = in_memory(tmp_path, found)
    remote = fetch(MODEL, found.model_copy(update={"data_uri": "s3://data"}), objects, tmp_path / "b")
    for here in (local, remote):
        files = {path.name: path.read_bytes() for path in here.model.iterdir()}
        assert sorted(files) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        assert all(files[name] == (tmp_path / "model" / name).read_bytes() for name in files)
        assert (here.data / "train" / "index.arrow").is_file()


def flipped(content: bytes) -> bytes:
    """One bit of the last weight is another."""
    return content[:-1] + bytes([content[-1] ^ 1])


def test_weights_that_were_damaged_on_their_way_are_brought_again(tmp_path: Path, found: Prepared) -> None:
    class DamagedOnce(MemoryStorage):
        damaged = False

        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            stored = super().download(uri, path, **told)
            if uri.endswith("model.safetensors") and not self.damaged:
                self.damaged = True
                path.write_bytes(flipped(path.read_bytes()))
            return stored

    storage = in_memory(tmp_path, found, DamagedOnce())
    here = fetch(MODEL, found.model_copy(update={"data_uri": "s3://data"}), storage, tmp_path / "scratch")
    assert storage.damaged
    assert (here.model / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_file_that_is_replaced_after_it_was_checked_is_not_trained_on(tmp_path: Path, found: Prepared) -> None:
    class Replaced(MemoryStorage):
        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            if uri.endswith("model.safetensors"):
                self.write(uri, flipped((tmp_path / "model" / "model.safetensors").read_bytes()))
            return super().download(uri, path, **told)

    storage = in_memory(tmp_path, found, Replaced())
    with pytest.raises(StageFailed, match=r"s3://models/m is no longer the model") as failed:
        fetch(MODEL, found.model_copy(update={"data_uri": "s3://data"}), storage, tmp_path / "scratch")
    assert failed.value.failure.field == "spec.model.uri"


def test_files_come_at_the_same_time_and_all_that_has_arrived_is_told(tmp_path: Path, found: Prepared) -> None:
    class Together(MemoryStorage):
        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            if uri.startswith(MODEL):
                both.wait(timeout=30)
            return super().download(uri, path, **told)

    both = threading.Barrier(2)
    storage = in_memory(tmp_path, found, Together())
    told: list[tuple[int, int]] = []
    folder = tmp_path / "scratch"
    materials.fetch_model(
        MODEL, found.model_digest, storage=storage, folder=folder, report=lambda *bytes_: told.append(bytes_)
    )
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert [size for _, size in told] == [total] * 4
    assert sorted(done for done, _ in told) == [done for done, _ in told]
    assert told[-1] == (total, total)


def test_a_file_that_fails_ends_those_that_are_on_their_way(tmp_path: Path, found: Prepared) -> None:
    class Refuses(MemoryStorage):
        def download(self, uri: str, path: Path, **told: Any) -> StoredObject:
            if uri.endswith("tokenizer.json"):
                coming.wait(timeout=30)
                raise AccessDenied(f"{uri}: 403")
            if uri.endswith("model.safetensors"):
                coming.set()
                try:
                    for _ in range(3_000):
                        told["arrived"](0)
                        time.sleep(0.01)
                except Exception:
                    ended.set()
                    raise
            return super().download(uri, path, **told)

    coming, ended = threading.Event(), threading.Event()
    storage = in_memory(tmp_path, found, Refuses())
    with pytest.raises(StageFailed, match=r"^spec\.model\.uri: s3://models/m/tokenizer\.json: 403$"):
        fetch(MODEL, found.model_copy(update={"data_uri": "s3://data"}), storage, tmp_path / "scratch")
    assert ended.is_set()
