"""Datasets of a Hugging Face Hub, read by huggingface_hub's own code from a server that speaks its API."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from fault_proxy import Fault, FaultProxy, fault_proxy
from finetune_trainer.storage import (
    AccessDenied,
    KeysRefused,
    NotFound,
    StorageError,
    StoredObject,
    StoreUnavailable,
    open_storage,
)
from finetune_trainer.storage.calls import Patience
from finetune_trainer.storage.hub import HubStorage
from hub_server import REPOSITORY, Hub, hub_server

SMALL = b'{"text": "a"}\n'
LARGE = random.Random(0).randbytes(5000)
FILES = {"README.md": b"#", "data/a.jsonl": SMALL, "data/b.jsonl": b"", "data/deep/c d.bin": LARGE, "e.bin": LARGE}
DATASET = f"hf://datasets/{REPOSITORY}"
QUICK = Patience(longest_pause=0.01)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    with hub_server() as hub:
        yield hub


def storage_of(endpoint: str, patience: Patience = QUICK) -> HubStorage:
    return HubStorage(endpoint=endpoint, patience=patience, timeout=5, ahead_size=1000)


def test_what_is_found_is_named_by_its_commit_and_told_by_its_content(hub: Hub) -> None:
    commit = hub.commit(FILES)
    found = list(storage_of(hub.endpoint).list(f"{DATASET}/data/"))
    # As `git hash-object` says.
    blob, empty = "33157540feb8483310055d7a1e0358703c4a14b2", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert found == [
        StoredObject(uri=f"{DATASET}@{commit}/data/a.jsonl", size=len(SMALL), etag=blob),
        StoredObject(uri=f"{DATASET}@{commit}/data/b.jsonl", size=0, etag=empty),
        StoredObject(
            uri=f"{DATASET}@{commit}/data/deep/c d.bin", size=len(LARGE), etag=hashlib.sha256(LARGE).hexdigest()
        ),
    ]
    assert [each.size for each in storage_of(hub.endpoint).list(DATASET + "/data/a")] == [len(SMALL)]
    assert list(storage_of(hub.endpoint).list(f"{DATASET}/nothing/")) == []


def test_a_pinned_uri_reads_what_stood_there_though_the_branch_goes_on(hub: Hub) -> None:
    first = hub.commit(FILES)
    storage = storage_of(hub.endpoint)
    uri = storage.pinned(f"{DATASET}/e.bin")
    assert uri == f"{DATASET}@{first}/e.bin"
    second = hub.commit({"e.bin": b"other"})
    assert storage.pinned(f"{DATASET}@main/**.bin") == f"{DATASET}@{second}/**.bin"
    assert storage.pinned(uri) == uri
    with storage.open(uri) as stream:
        assert stream.read() == LARGE
    assert storage.read(f"{DATASET}/e.bin")[0] == b"other"


@pytest.mark.parametrize("revision", ["v1.0", "refs/convert/parquet", "refs/pr/7"])
def test_revisions_are_branches_tags_and_what_the_hub_makes_itself(hub: Hub, revision: str) -> None:
    hub.commit({})
    commit = hub.commit({"default/a.parquet": b"x"}, revision)
    stored = storage_of(hub.endpoint).stat(f"{DATASET}@{revision}/default/a.parquet")
    assert stored is not None
    assert stored.uri == f"{DATASET}@{commit}/default/a.parquet"


@pytest.mark.parametrize("path", ["data/a.jsonl", "data/b.jsonl", "data/deep/c d.bin"])
def test_files_of_git_and_of_lfs_are_read_whole_or_in_part(hub: Hub, path: str) -> None:
    hub.commit(FILES)
    storage = storage_of(hub.endpoint)
    uri = f"{DATASET}/{path}"
    with storage.open(uri) as stream:
        assert stream.read(7) + stream.read() == FILES[path]
    stored = storage.stat(uri)
    assert stored is not None
    assert storage.read(uri) == (FILES[path], stored.etag)
    assert storage.read(uri, 3, 5) == (FILES[path][3:8], stored.etag)
    assert storage.read(uri, 6000) == (b"", stored.etag)


def test_what_is_not_there_is_told_apart(hub: Hub) -> None:
    hub.commit(FILES)
    storage = storage_of(hub.endpoint)
    assert storage.stat(f"{DATASET}/data") is None
    assert storage.stat(f"{DATASET}/no/a.jsonl") is None
    with pytest.raises(NotFound, match=r"data/x\.jsonl: not found"):
        storage.open(f"{DATASET}/data/x.jsonl")
    with pytest.raises(NotFound, match="no such revision"):
        storage.pinned(f"{DATASET}@v2/*.jsonl")
    with pytest.raises(NotFound, match="no such revision"):
        list(storage.list(f"{DATASET}@{'0' * 40}/"))
    with pytest.raises(NotFound, match="no such dataset"):
        storage.pinned("hf://datasets/owner/other/*.jsonl")
    with pytest.raises(StorageError, match="not an hf://datasets/owner/name"):
        storage.pinned("hf://owner/name")


def test_a_private_dataset_asks_for_the_token_which_no_other_server_sees(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.commit(FILES)
    hub.token = "hf_right"
    with pytest.raises(AccessDenied, match=r"or it is private.*key hfToken of the Secret spec\.storage\.secretName"):
        storage_of(hub.endpoint).pinned(f"{DATASET}/e.bin")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(KeysRefused, match=r"refuses the token.*key hfToken of the Secret"):
        storage_of(hub.endpoint).pinned(f"{DATASET}/e.bin")
    monkeypatch.setenv("HF_TOKEN", "hf_right\n")
    with pytest.raises(KeysRefused, match="key hfToken of the Secret"):
        storage_of(hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    hub.seen.clear()
    assert storage_of(hub.endpoint).read(f"{DATASET}/e.bin")[0] == LARGE
    assert {path.startswith(f"/{commit}") for path, token in hub.seen if token is None} == {True}
    assert {token for path, token in hub.seen if not path.startswith(f"/{commit}")} == {"hf_right"}


def test_a_gated_dataset_can_be_listed_and_its_files_ask_for_consent(hub: Hub) -> None:
    hub.commit(FILES)
    hub.gated = True
    storage = storage_of(hub.endpoint)
    assert len(list(storage.list(f"{DATASET}/"))) == len(FILES)
    with pytest.raises(AccessDenied, match=r"is gated: ask for access.*key hfToken of the Secret"):
        storage.read(f"{DATASET}/e.bin")


@pytest.fixture
def proxy(hub: Hub) -> Iterator[FaultProxy]:
    hub.commit(FILES)
    with fault_proxy(hub.endpoint) as proxy:
        yield proxy


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY])
def test_a_burst_of_faults_is_outlasted(hub: Hub, proxy: FaultProxy, fault: Fault) -> None:
    storage = storage_of(proxy.endpoint)
    dice = random.Random(1)
    proxy.decide = lambda _method, _path: fault if dice.random() < 0.5 else None
    with fault_proxy(hub.store) as store:
        hub.store = store.endpoint
        store.decide = proxy.decide
        for stored in storage.list(f"{DATASET}/"):
            with storage.open(stored.uri) as stream:
                assert stream.read() == FILES[stored.uri.partition("/")[2].split("/", 4)[4]]


def test_a_hub_that_stays_busy_is_unavailable_and_named(proxy: FaultProxy) -> None:
    seconds = iter(range(10_000))
    patience = Patience(seconds=20, clock=lambda: float(next(seconds)), sleep=lambda _: None, jitter=lambda: 0)
    proxy.decide = lambda _method, _path: Fault.BUSY
    with pytest.raises(StoreUnavailable, match=r"no usable answer from http://127.*\(HF_ENDPOINT\) in 20 s.*503"):
        storage_of(proxy.endpoint, patience).pinned(f"{DATASET}/e.bin")
    assert len(proxy.seen) == 21


def test_a_hub_that_nobody_serves_is_told_early() -> None:
    seconds = iter(range(10_000))
    patience = Patience(clock=lambda: float(next(seconds)), sleep=lambda _: None)
    with pytest.raises(StoreUnavailable, match=r"http://127.0.0.1:1 \(HF_ENDPOINT\) in 30 s"):
        storage_of("http://127.0.0.1:1", patience).pinned(f"{DATASET}/e.bin")


def test_a_server_that_knows_no_ranges_does_not_send_a_large_file_instead(hub: Hub) -> None:
    hub.commit(FILES)
    hub.serves_ranges = False
    storage = storage_of(hub.endpoint)
    assert storage.read(f"{DATASET}/data/a.jsonl")[0] == SMALL
    with (
        pytest.raises(StorageError, match=r"127\.0\.0\.1 sends no parts of files"),
        storage.open(f"{DATASET}/e.bin") as it,
    ):
        it.read()


def test_a_commit_is_listed_once(hub: Hub) -> None:
    hub.commit(FILES)
    storage = storage_of(hub.endpoint)
    for stored in storage.list(f"{DATASET}/data/"):
        storage.stat(stored.uri)
        hub.seen.clear()
        assert storage.stat(stored.uri) == stored
    assert hub.seen == []


def test_nothing_is_written_there() -> None:
    with pytest.raises(StorageError, match=r"use s3://bucket/key or file:///path"):
        open_storage().write(f"{DATASET}/a", b"")
