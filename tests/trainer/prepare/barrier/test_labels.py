"""Labels, from raw rows to splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpora import write_rows
from finetune_api.spec import ClassificationTask, Split
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier import labels
from finetune_trainer.prepare.barrier.labels import Slip, slips
from finetune_trainer.prepare.build import Recipe, build
from finetune_trainer.prepare.read import find_objects
from finetune_trainer.prepare.validate import check_labels, check_splits
from finetune_trainer.prepared import SPLITS, Manifest, open_split, row_place, unused_id
from finetune_trainer.storage import open_storage
from finetune_trainer.tasks.classification import Classification
from finetune_trainer.tokenizers import load
from jobs import make_job
from tiny_models import TokenizerKind, write_tokenizer

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    manifest: Manifest
    folder: Path
    task: Classification

    def rows(self, split: str) -> dict[int, tuple[str, ...]]:
        """Labels by the line in the raw file."""
        names = self.manifest.labels
        documents = open_split(self.folder, split, names)
        places = [int(row_place(row, self.manifest.sources).rpartition(":")[2]) for row in documents.rows.tolist()]
        return {line: tuple(names[label] for label in documents.labels(at)) for at, line in enumerate(places)}

    @property
    def all_rows(self) -> dict[int, tuple[str, ...]]:
        return {line: found for name in SPLITS for line, found in self.rows(name).items()}

    @property
    def findings(self) -> dict[str, Any]:
        report = json.loads((self.folder / "report.json").read_text())
        found: dict[str, Any] = report["findings"]
        return found

    def listed(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{kind}.jsonl").read_text().splitlines()]


def prepare(home: Path, rows: Rows, *, data: Mapping[str, Any] | None = None, **settings: Any) -> Outcome:
    write_rows(home / "raw" / "rows.jsonl", rows)
    (home / "tokenizer").mkdir()
    write_tokenizer(home / "tokenizer", TokenizerKind.HUGGING_FACE)
    sources = {"sources": [{"uri": f"file://{home}/raw/rows.jsonl"}], **(data or {})}
    spec = make_job(data=sources, training={"sequenceLength": 512}).spec
    task = Classification(ClassificationTask.parse(settings))
    storage = open_storage()
    recipe = Recipe(
        digest="0" * 64,
        spec=spec,
        objects=find_objects(storage, spec.data.sources),
        benchmarks=(),
        previous=None,
        task=task,
        tokenizer=load(home / "tokenizer"),
        tokenizer_folder=home / "tokenizer",
    )
    manifest = build(recipe, home / "out", storage, home / "spill", lambda activity, rows: None)
    return Outcome(manifest, home / "out", task)


def texts(label: object, count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"Letter {number} to the office.", "label": label} for number in range(start, start + count)]


def test_labels_that_differ_in_case_and_blanks_are_written_as_most_rows_have_it(tmp_path: Path) -> None:
    rows = [
        *texts("Billing", 12),
        *texts("billing", 3, start=20),
        *texts(" BILLING ", 2, start=30),
        *texts("log  in", 5, start=40),
        *texts("log in", 6, start=50),
        *texts("other", 20, start=60),
    ]
    done = prepare(tmp_path, rows)
    assert done.manifest.labels == ("Billing", "log in", "other")
    assert Counter(label for (label,) in done.all_rows.values()) == {"Billing": 17, "log in": 11, "other": 20}
    found = done.findings["labels"]
    assert found["rowsRespelt"] == 10
    assert found["respelt"] == [
        {"label": "Billing", "spellings": {" BILLING": 2, "Billing": 12, "billing": 3}},
        {"label": "log in", "spellings": {"log  in": 5, "log in": 6}},
    ]
    assert {name: sum(split.labels.values()) for name, split in done.manifest.splits.items()} == {
        "train": len(done.rows("train")),
        "validation": len(done.rows("validation")),
        "test": len(done.rows("test")),
    }


def test_spellings_stay_where_that_is_switched_off(tmp_path: Path) -> None:
    done = prepare(tmp_path, [*texts("A", 10), *texts("a", 10, start=20)], labelSpelling=False)
    assert done.manifest.labels == ("A", "a")


def test_what_the_spec_names_is_written_as_it_says(tmp_path: Path) -> None:
    rows = [*texts("biling", 2), *texts("billing", 20, start=10), *texts("junk", 20, start=40)]
    done = prepare(tmp_path, rows, labelMapping={"Biling": "Billing", "junk": "Spam"})
    assert done.manifest.labels == ("Billing", "Spam")
    assert Counter(label for (label,) in done.all_rows.values()) == {"Billing": 22, "Spam": 20}


def test_listed_labels_keep_their_order_and_others_are_rejected(tmp_path: Path) -> None:
    rows = [*texts("POSITIVE", 20), *texts("negative", 20, start=20), *texts("mixed", 1, start=50)]
    done = prepare(tmp_path, rows, labels=["positive", "neutral", "negative"])
    assert done.manifest.labels == ("positive", "neutral", "negative")
    (rejected,) = done.listed("rejected")
    assert (rejected["line"], rejected["field"]) == (41, "label")
    assert rejected["reason"] == "the label 'mixed' is none of spec.task.classification.labels"


def test_slips_are_suggested_and_nothing_is_changed(tmp_path: Path) -> None:
    rows = [*texts("shipping", 40), *texts("shiping", 2, start=50), *texts("refund", 40, start=60)]
    done = prepare(tmp_path, rows)
    assert "shiping" in done.manifest.labels
    assert done.findings["labels"]["slips"] == [
        {"label": "shiping", "rows": 2, "instead": "shipping", "insteadRows": 40}
    ]
    assert "1 labels look like slips of others, such as 'shiping' of 'shipping'" in done.findings["warnings"]


@pytest.mark.parametrize("rare", ["shiping", "shippping", "shopping", "shpiping", "Shippin"])
def test_one_letter_is_a_slip(rare: str) -> None:
    assert slips({rare: 3, "shipping": 30}) == (Slip(label=rare, rows=3, instead="shipping", instead_rows=30),)


@pytest.mark.parametrize(
    "rows",
    [
        {"shiping": 3, "shipping": 29},  # not so much rarer
        {"hipin": 3, "shipping": 300},  # three letters
        {"cat": 3, "car": 300},  # too short to tell
        {"class 12": 3, "class 13": 300},  # numbers are never slips
        {"class 1": 3, "class 11": 300},
    ],
)
def test_what_may_be_meant_is_no_slip(rows: Mapping[str, int]) -> None:
    assert slips(rows) == ()


def test_each_label_is_divided_as_the_whole_is(tmp_path: Path) -> None:
    rows = [*texts("a", 100), *texts("b", 50, start=100), *texts("c", 10, start=150)]
    done = prepare(tmp_path, rows, data={"deduplication": "Exact"})
    assert {name: split.labels for name, split in done.manifest.splits.items()} == {
        "train": {"a": 80, "b": 40, "c": 8},
        "validation": {"a": 10, "b": 5, "c": 1},
        "test": {"a": 10, "b": 5, "c": 1},
    }


def test_many_small_labels_add_up_to_the_shares_and_all_are_trained(tmp_path: Path) -> None:
    rows = [row for label in range(50) for row in texts(f"kind{label:02}", 4, start=4 * label)]
    done = prepare(tmp_path, rows, data={"deduplication": "Exact"})
    counts = [split.documents for split in done.manifest.splits.values()]
    assert np.abs(np.array(counts) - [160, 20, 20]).max() <= 4
    assert len(done.manifest.splits["train"].labels) == 50


def test_a_label_with_one_row_or_two_is_trained_and_told(tmp_path: Path) -> None:
    rows = [*texts("a", 40), *texts("b", 40, start=50), *texts("two", 2, start=100), *texts("one", 1, start=110)]
    done = prepare(tmp_path, rows)
    assert {"one", "two"} <= done.manifest.splits["train"].labels.keys()
    assert "2 of 4 labels have fewer than 10 rows: 'one', 'two'" in done.findings["warnings"]


def test_the_labels_of_most_rows_with_a_text_count(tmp_path: Path) -> None:
    same = [{"text": "Thank you.", "label": label} for label in ["praise", "Praise", "spam", "praise"]]
    even = [{"text": "It works.", "label": label} for label in ["praise", "spam"]]
    done = prepare(tmp_path, [*texts("praise", 40), *texts("spam", 40, start=50), *same, *even])
    left = {line: found for line, found in done.all_rows.items() if line > 80}
    assert left == {81: ("praise",)}
    assert [(entry["line"], entry["kind"]) for entry in done.listed("removed")] == [
        (82, "Duplicate"),
        (83, "Conflicting"),
        (84, "Duplicate"),
        (85, "Conflicting"),
        (86, "Conflicting"),
    ]
    assert done.findings["conflicts"] == 2
    assert done.findings["labels"]["rowsOutvoted"] == 3


def test_texts_that_are_nearly_alike_stay_where_their_labels_are_not(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(40))
    alike = [
        {"text": words, "label": "a"},
        {"text": f"{words} again", "label": "b"},
        {"text": f"{words} more", "label": "A"},
    ]
    done = prepare(tmp_path, [*texts("a", 30), *texts("b", 30, start=50), *alike])
    assert {line for line in done.all_rows if line > 60} == {61, 62}
    assert any({61, 62} <= done.rows(name).keys() for name in SPLITS)
    assert done.findings["labels"]["alikeButLabelledOtherwise"] == 1


def test_several_labels_are_one_answer_in_any_order(tmp_path: Path) -> None:
    rows = [
        *texts(["x"], 30),
        *texts(["y", "X"], 30, start=50),
        *texts([], 30, start=100),
        {"text": "Twice.", "label": ["y", "x"]},
        {"text": "Twice.", "label": ["X", "y", "x"]},
        {"text": "Never.", "label": []},
        {"text": "Never.", "label": ["x"]},
    ]
    done = prepare(tmp_path, rows, multiLabel=True)
    assert done.manifest.labels == ("x", "y")
    assert Counter(done.all_rows.values()) == {("x",): 30, ("x", "y"): 31, (): 30}
    assert [(entry["line"], entry["kind"]) for entry in done.listed("removed")] == [
        (92, "Duplicate"),
        (93, "Conflicting"),
        (94, "Conflicting"),
    ]
    check_labels(done.manifest, done.task.labels)


@pytest.mark.parametrize(
    ("label", "settings", "reason"),
    [
        ("a", {}, "all rows of train have one and the same label: there is nothing to tell apart"),
        (["a"], {"multiLabel": True}, "all rows of train have one and the same label: there is nothing to tell apart"),
        ([], {"multiLabel": True}, "no row of train has a label"),
    ],
)
def test_one_label_is_nothing_to_learn(tmp_path: Path, label: object, settings: Mapping[str, Any], reason: str) -> None:
    done = prepare(tmp_path, texts(label, 30), **settings)
    with pytest.raises(StageFailed) as failed:
        check_labels(done.manifest, done.task.labels)
    assert failed.value.failure.field == "spec.task.classification.labelField"
    assert failed.value.failure.message == f"spec.task.classification.labelField: {reason}"


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ([{"text": "Thank you.", "label": label} for label in ("praise", "spam")], {}),
        ([{"text": " ", "label": "praise"}] * 3, {}),
        ([{"text": "Thank you.", "label": "other"}] * 3, {"labels": ["praise", "spam"]}),
    ],
    ids=["conflicting", "blank", "not listed"],
)
def test_no_usable_row_fills_no_split(tmp_path: Path, rows: Rows, settings: Mapping[str, Any]) -> None:
    done = prepare(tmp_path, rows, **settings)
    with pytest.raises(StageFailed, match="train and validation and test got none of the 0 usable rows"):
        check_splits(done.manifest, Split())


def test_too_many_labels_are_none(tmp_path: Path) -> None:
    count = labels.MOST_LABELS + 1
    with pytest.raises(StageFailed, match="more than 10000 different labels; is it the right field"):
        prepare(tmp_path, ({"text": "a", "label": f"n{number}"} for number in range(count)))


def test_padding_has_an_id_that_no_document_has(tmp_path: Path) -> None:
    done = prepare(tmp_path, [*texts("a", 10), *texts("b", 10, start=20)])
    splits = [open_split(done.folder, name) for name in SPLITS]
    tokenizer = load(tmp_path / "tokenizer")
    ids = [number for split in splits for index in range(len(split)) for number in split.ids(index).tolist()]
    assert unused_id(splits, (ids[-1], tokenizer.eos_id), vocab_size=tokenizer.vocab_size) == tokenizer.eos_id
    assert unused_id(splits, ids[-1:], vocab_size=tokenizer.vocab_size) == min({*range(len(ids) + 1)} - {*ids})
    full: Any = SimpleNamespace(shards=(pa.record_batch({"ids": [[0, 1]]}),))
    with pytest.raises(ValueError, match="each of 2 ids occurs"):
        unused_id([full], (1,), vocab_size=2)
