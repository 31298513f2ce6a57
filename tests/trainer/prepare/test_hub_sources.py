"""Raw rows in a dataset of the Hugging Face Hub, through the whole of preparation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot
from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from hub_server import Hub, hub_server
from raw_files import parquet

ROWS = [pair(number) for number in range(60)]
FILES = {
    "README.md": b"# Sums\n",
    "data/a.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS[:30]) + b"{\n",
    "data/more/b.parquet": parquet({name: [row[name] for row in ROWS[30:]] for name in ROWS[0]}),
}
DATASET = "hf://datasets/owner/name"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def run(home: Path, *uris: str, benchmarks: tuple[str, ...] = ()) -> Prepared:
    (home / "scratch").mkdir(exist_ok=True)
    data: dict[str, Any] = {
        "sources": [{"uri": uri} for uri in uris],
        "decontamination": {"benchmarks": [{"uri": uri} for uri in benchmarks]},
        "maxBadRowPercent": 5,
    }
    return prepare(
        prepare_snapshot(home, data=data),
        storage=open_storage(),
        scratch=home / "scratch",
        report=lambda progress: None,
        cpuinfo="",
    )


def test_rows_are_read_at_one_commit_which_the_digest_and_the_places_name(hub: Hub, tmp_path: Path) -> None:
    commit = hub.commit(FILES)
    glob = f"{DATASET}/data/**"
    first = run(tmp_path, glob)
    assert (first.data.files, first.data.rows_read, first.data.rows_rejected) == (2, 61, 1)
    (rejected,) = (Path(first.data_uri.removeprefix("file://")) / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["source"] == f"{DATASET}@{commit}/data/a.jsonl"
    assert run(tmp_path, f"{DATASET}@{commit}/data/**") == first

    assert hub.commit({**FILES, "README.md": b"# The same sums\n"}) != commit
    assert run(tmp_path, glob).data_digest != first.data_digest
    hub.revisions["v1"] = commit
    assert run(tmp_path, f"{DATASET}@v1/data/**") == first


@pytest.mark.parametrize(
    ("uri", "exit_code", "said"),
    [
        ("hf://datasets/owner/other/*.jsonl", ExitCode.MISMATCH, "there is no such dataset"),
        (f"{DATASET}@v2/data/*.jsonl", ExitCode.MISMATCH, "there is no such revision"),
        (f"{DATASET}/data/c.jsonl", ExitCode.MISMATCH, "nothing is stored under hf://datasets/owner/name/data/c.jsonl"),
        (f"{DATASET}/nothing/*.jsonl", ExitCode.MISMATCH, "nothing is stored under"),
        (f"{DATASET}/*", ExitCode.BAD_CONFIG, "README.md is none of"),
    ],
)
def test_what_is_not_there_names_its_source(hub: Hub, tmp_path: Path, uri: str, exit_code: ExitCode, said: str) -> None:
    hub.commit(FILES)
    for spec, field in (
        ({"uris": (f"{DATASET}/data/a.jsonl", uri)}, "spec.data.sources[1].uri"),
        ({"uris": (f"{DATASET}/data/a.jsonl",), "benchmarks": (uri,)}, "spec.data.decontamination.benchmarks[0].uri"),
    ):
        with pytest.raises(StageFailed, match=said) as failed:
            run(tmp_path, *spec["uris"], benchmarks=spec.get("benchmarks", ()))
        assert (failed.value.exit_code, failed.value.failure.field) == (exit_code, field)


def test_a_dataset_that_is_not_for_everybody_asks_for_the_token(hub: Hub, tmp_path: Path) -> None:
    hub.commit(FILES)
    hub.gated = True
    with pytest.raises(StageFailed, match=r"gated.*key hfToken of the Secret spec\.storage\.secretName") as failed:
        run(tmp_path, f"{DATASET}/data/*.jsonl")
    assert failed.value.exit_code is ExitCode.ACCESS_DENIED
