"""When a finished model counts, and when it no longer does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from finetune_api.result import Metrics, Published
from finetune_trainer.checkpoint.commit import Fenced, Run, open_run
from finetune_trainer.checkpoint.layout import run_uri
from finetune_trainer.publication import (
    Manifest,
    OutputManifest,
    commit,
    publication_folder,
    read_published,
)
from finetune_trainer.storage import Storage
from finetune_trainer.verified import ListedFile
from jobs import make_job
from memory_storage import Crash, MemoryStorage, WatchedStorage, crash_at

OUTPUT = "s3://bucket/triage"
SPEC = make_job(output={"uri": OUTPUT}).spec
FILE = ListedFile(path="model/adapter_model.safetensors", size=7, sha256="a" * 64)


def start(storage: Storage, run: str = "r1") -> Run:
    return open_run(storage, run_uri(OUTPUT, run), owner="uid", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def but_named(path: str) -> ListedFile:
    return FILE.model_copy(update={"path": path})


def publish(storage: Storage, run: Run, name: str = "r1", loss: float = 2.5, file: ListedFile = FILE) -> Published:
    storage.write(f"{run.uri}/{publication_folder(run.epoch)}/{file.path}", b"weights")
    manifest = Manifest(
        run=name,
        step=200,
        epoch=run.epoch,
        base_model_uri="s3://models/mistral-7b",
        base_model_digest="m" * 64,
        data_uri="s3://out/prepared/d",
        data_digest="d" * 64,
        metrics=Metrics(test_loss=loss),
        files=(file,),
    )
    return commit(storage, run, OUTPUT, manifest)


def test_what_was_published_is_read_back() -> None:
    storage = MemoryStorage()

    published = publish(storage, start(storage))

    folder = f"{OUTPUT}/runs/r1/published/epoch-0001"
    assert read_published(storage, SPEC, "r1") == published
    assert published == Published(
        step=200,
        epoch=1,
        model_uri=f"{folder}/model",
        report_uri=f"{folder}/reports/report.html",
        manifest_uri=f"{folder}/manifest.json",
        manifest_sha256=published.manifest_sha256,
        metrics=Metrics(test_loss=2.5),
    )
    assert OutputManifest.model_validate_json(storage.read(f"{OUTPUT}/manifest.json")[0]) == OutputManifest(
        run="r1",
        epoch=1,
        manifest="runs/r1/published/epoch-0001/manifest.json",
        manifest_sha256=published.manifest_sha256,
    )


def test_nothing_is_published_before_everything_is() -> None:
    """A crash before and after each change: the next start publishes, and that is what counts."""
    changes = WatchedStorage(MemoryStorage())
    publish(changes, start(changes))
    for number in range(1, changes.changes + 1):
        for hook in ("before", "after"):
            inner = MemoryStorage()
            watched = WatchedStorage(inner, **{hook: crash_at(number)})
            with pytest.raises(Crash):
                publish(watched, start(watched))
            is_last = (number, hook) == (changes.changes, "after")
            assert (read_published(inner, SPEC, "r1") is not None) == is_last

            again = publish(inner, start(inner))
            assert read_published(inner, SPEC, "r1") == again


def test_a_fenced_writer_publishes_nothing() -> None:
    storage = MemoryStorage()
    zombie = start(storage)
    newer = start(storage)
    published = publish(storage, newer, loss=2.0)

    with pytest.raises(Fenced):
        publish(storage, zombie, loss=9.0)
    assert read_published(storage, SPEC, "r1") == published


def test_a_writer_fenced_between_its_two_commits_does_not_replace_the_newer_publication() -> None:
    inner = MemoryStorage()
    published: list[Published] = []

    def overtake(change: int) -> None:
        if change == 5:  # the output's manifest, after file, manifest and HEAD
            published.append(publish(inner, start(inner), loss=2.0))

    watched = WatchedStorage(inner, before=overtake)
    with pytest.raises(Fenced):
        publish(watched, start(watched), loss=9.0)
    assert read_published(inner, SPEC, "r1") == published[0]


def test_the_output_names_the_run_that_was_published_last() -> None:
    storage = MemoryStorage()
    publish(storage, start(storage, "r1"), "r1")
    second = publish(storage, start(storage, "r2"), "r2")

    assert read_published(storage, SPEC, "r1") is None
    assert read_published(storage, SPEC, "r2") == second
    publish(storage, start(storage, "r1"), "r1")
    assert read_published(storage, SPEC, "r1") is not None


@pytest.mark.parametrize(
    "path",
    [
        "manifest.json",
        "runs/r1/HEAD.json",
        "runs/r1/published/epoch-0001/manifest.json",
        "runs/r1/published/epoch-0001/model/adapter_model.safetensors",
    ],
)
def test_a_publication_of_which_something_is_gone_does_not_count(path: str) -> None:
    storage = MemoryStorage()
    publish(storage, start(storage))

    storage.delete(f"{OUTPUT}/{path}")

    assert read_published(storage, SPEC, "r1") is None


def test_a_publication_without_the_merged_model_that_is_asked_for_by_now_does_not_count() -> None:
    merging = make_job(output={"uri": OUTPUT, "merge": True}).spec
    storage = MemoryStorage()
    publish(storage, start(storage))
    assert read_published(storage, merging, "r1") is None
    published = publish(storage, start(storage), file=but_named("merged/model.safetensors"))
    assert read_published(storage, merging, "r1") == published


def test_a_damaged_manifest_or_a_cut_file_does_not_count() -> None:
    for path, content in (
        ("manifest.json", b"{]"),
        ("runs/r1/published/epoch-0001/manifest.json", b"{}"),
        ("runs/r1/published/epoch-0001/model/adapter_model.safetensors", b"weigh"),
    ):
        storage = MemoryStorage()
        publish(storage, start(storage))
        storage.write(f"{OUTPUT}/{path}", content)
        assert read_published(storage, SPEC, "r1") is None

        published = publish(storage, start(storage))
        assert read_published(storage, SPEC, "r1") == published
