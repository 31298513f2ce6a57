"""What becomes of rows when all of them are looked at together, from raw objects to splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot, write_rows
from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.prepared import SPLITS, open_split, read_manifest, row_place
from finetune_trainer.storage import open_storage

Row = Mapping[str, Any]


def run(home: Path, name: str = "out", **data: Any) -> Prepared:
    """Prepare home/raw/*.jsonl into a folder of its own."""
    given = {"sources": [{"uri": f"file://{home}/raw/*.jsonl"}], "cacheUri": f"file://{home}/{name}", **data}
    (home / f"scratch-{name}").mkdir()
    return prepare(
        prepare_snapshot(home, data=given, training={"sequenceLength": 1024}),
        storage=open_storage(),
        scratch=home / f"scratch-{name}",
        report=lambda progress: None,
        cpuinfo="",
    )


def splits_of(prepared: Prepared) -> dict[str, str]:
    """Split by place."""
    folder = Path(prepared.data_uri.removeprefix("file://"))
    manifest = read_manifest(open_storage(), prepared.data_uri)
    assert manifest is not None
    return {
        row_place(row, manifest.sources).rpartition("/")[2]: name
        for name in SPLITS
        for row in open_split(folder, name).rows.tolist()
    }


def removed(prepared: Prepared) -> list[tuple[str, str, str | None]]:
    """Place, kind, and the place that was kept."""
    lines = (Path(prepared.data_uri.removeprefix("file://")) / "removed.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        (
            f"{entry['source'].rpartition('/')[2]}:{entry['line']}",
            entry["kind"],
            entry["kept"].rpartition("/")[2] if "kept" in entry else None,
        )
        for entry in entries
    ]


def findings(prepared: Prepared) -> dict[str, Any]:
    report = json.loads((Path(prepared.data_uri.removeprefix("file://")) / "report.json").read_text())
    found: dict[str, Any] = report["findings"]
    return found


def words(name: str, count: int = 30) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def story(number: int, *, changed: bool = False, answer: str = "yes") -> dict[str, Any]:
    text = words(f"s{number}w")
    return {"prompt": f"{text} again" if changed else text, "completion": answer}


def raw(home: Path, name: str, rows: Iterable[Row]) -> None:
    write_rows(home / "raw" / name, rows)


def test_near_duplicates_leave_with_the_place_of_the_one_that_stays(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [*map(story, range(20)), story(3), story(4, changed=True)])
    raw(tmp_path, "b.jsonl", [story(5, changed=True), story(6, answer="no")])
    prepared = run(tmp_path)
    assert removed(prepared) == [
        ("a.jsonl:21", "Duplicate", "a.jsonl:4"),
        ("a.jsonl:22", "NearDuplicate", "a.jsonl:5"),
        ("b.jsonl:1", "NearDuplicate", "a.jsonl:6"),
    ]
    found = findings(prepared)
    assert (found["exactDuplicates"], found["nearDuplicates"], found["conflicts"]) == (1, 2, 1)
    assert [[place.rpartition("/")[2] for place in two] for two in found["conflictPlaces"]] == [
        ["a.jsonl:7", "b.jsonl:2"]
    ]
    assert prepared.data.splits.train + prepared.data.splits.validation + prepared.data.splits.test == 21


@pytest.mark.parametrize("assignment", ["Exact", "Stable"])
def test_duplicates_that_are_kept_are_in_one_split(tmp_path: Path, assignment: str) -> None:
    raw(tmp_path, "a.jsonl", map(story, range(40)))
    raw(tmp_path, "b.jsonl", [story(number, changed=number % 2 == 0) for number in range(40)])
    prepared = run(tmp_path, deduplication="Off", split={"assignment": assignment})
    places = splits_of(prepared)
    assert len(places) == 80
    assert all(places[f"a.jsonl:{line}"] == places[f"b.jsonl:{line}"] for line in range(1, 41))
    assert findings(prepared)["largestGroup"] == 2


def test_given_files_are_the_splits_that_they_are_for(tmp_path: Path) -> None:
    raw(tmp_path, "train.jsonl", [*map(pair, range(100)), story(1), story(2)])
    raw(tmp_path, "wait.jsonl", [*map(pair, range(200, 220)), story(1)])
    raw(tmp_path, "xtest.jsonl", [*map(pair, range(300, 310)), story(2, changed=True), pair(7)])
    uri = f"file://{tmp_path}/raw"
    sources = [
        {"uri": f"{uri}/train.jsonl"},
        {"uri": f"{uri}/wait.jsonl", "split": "Validation"},
        {"uri": f"{uri}/xtest.jsonl", "split": "Test"},
    ]
    prepared = run(tmp_path, sources=sources)
    by_file = {(place.partition(":")[0], split) for place, split in splits_of(prepared).items()}
    assert by_file == {("train.jsonl", "train"), ("wait.jsonl", "validation"), ("xtest.jsonl", "test")}
    # What is given stays, and the train row leaves, though it comes first.
    assert removed(prepared) == [
        ("train.jsonl:8", "Duplicate", "xtest.jsonl:12"),
        ("train.jsonl:101", "Duplicate", "wait.jsonl:21"),
        ("train.jsonl:102", "NearDuplicate", "xtest.jsonl:11"),
    ]
    without = run(tmp_path, "without", sources=[sources[0], sources[2]]).data.splits
    # What is left is divided 80 to 10.
    assert (without.train, without.validation, without.test) == (89, 11, 12)


def test_a_given_file_among_those_of_a_glob_is_the_split_that_it_is_for(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(50)))
    raw(tmp_path, "test.jsonl", map(pair, range(200, 220)))
    every = {"uri": f"file://{tmp_path}/raw/*.jsonl"}
    test = {"uri": f"file://{tmp_path}/raw/test.jsonl", "split": "Test"}
    prepared = run(tmp_path, sources=[every, test])
    assert {place.partition(":")[0] for place, split in splits_of(prepared).items() if split == "test"} == {
        "test.jsonl"
    }
    assert run(tmp_path, "reverse", sources=[test, every]).data_digest == prepared.data_digest
    assert run(tmp_path, "divided", sources=[every]).data_digest != prepared.data_digest


def test_rows_of_an_earlier_preparation_stay_where_they_were(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(100)))
    first = run(tmp_path, "first")
    raw(tmp_path, "b.jsonl", map(pair, range(100, 160)))
    moved = run(tmp_path, "moved")
    pinned = run(tmp_path, "pinned", split={"previousUri": first.data_uri})
    before = splits_of(first)
    assert {place: split for place, split in splits_of(pinned).items() if place in before} == before
    assert pinned.data.splits == moved.data.splits
    assert (findings(pinned)["moved"], findings(moved)["moved"]) == (0, None)
    assert any(splits_of(moved)[place] != split for place, split in before.items())
    assert len({first.data_digest, moved.data_digest, pinned.data_digest}) == 3


def test_what_was_prepared_stays_in_its_split_when_copies_sort_before_it(tmp_path: Path) -> None:
    raw(tmp_path, "m.jsonl", map(story, range(60)))
    first = run(tmp_path, "first")
    raw(tmp_path, "a.jsonl", [story(number, changed=True) for number in range(30)])
    second = run(tmp_path, "second", split={"previousUri": first.data_uri})
    before, after = splits_of(first), splits_of(second)
    of_copies = {f"m.jsonl:{line}": after[f"a.jsonl:{line}"] for line in range(1, 31)}
    assert len(after) == 60
    assert {**after, **of_copies}.items() >= before.items()
    assert findings(second)["moved"] == 0
    (tmp_path / "raw" / "a.jsonl").unlink()
    third = run(tmp_path, "third", split={"previousUri": second.data_uri})
    assert splits_of(third) == before


def test_a_copy_that_goes_elsewhere_counts_as_moved(tmp_path: Path) -> None:
    raw(tmp_path, "m.jsonl", map(story, range(60)))
    first = run(tmp_path, "first")
    raw(tmp_path, "a.jsonl", [story(number, changed=True) for number in range(30)])
    sources = [{"uri": f"file://{tmp_path}/raw/{name}.jsonl"} for name in "am"]
    sources[0]["split"] = "Test"
    second = run(tmp_path, "second", sources=sources, split={"previousUri": first.data_uri})
    was = splits_of(first)
    assert findings(second)["moved"] == sum(was[f"m.jsonl:{line}"] != "test" for line in range(1, 31)) > 0


def test_a_given_split_takes_no_rows_of_its_groups(tmp_path: Path) -> None:
    raw(tmp_path, "train.jsonl", [pair(number, ticket=number % 30) for number in range(90)])
    raw(tmp_path, "xtest.jsonl", [pair(number, ticket=number % 10) for number in range(200, 220)])
    uri = f"file://{tmp_path}/raw"
    sources = [{"uri": f"{uri}/train.jsonl"}, {"uri": f"{uri}/xtest.jsonl", "split": "Test"}]
    prepared = run(tmp_path, sources=sources, split={"groupBy": "ticket"})
    gone = removed(prepared)
    assert len(gone) == 30
    assert {kind for _, kind, _ in gone} == {"Contaminated"}
    assert {(int(place.rpartition(":")[2]) - 1) % 30 for place, _, _ in gone} == set(range(10))
    splits = prepared.data.splits
    assert (splits.test, splits.train + splits.validation) == (20, 60)
    assert any(warning.startswith("30 rows are left out, for rows of") for warning in findings(prepared)["warnings"])


def test_groups_of_two_given_splits_are_told(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [pair(number, ticket=number) for number in range(40)])
    raw(tmp_path, "b.jsonl", [pair(number, ticket=number % 10) for number in range(50, 70)])
    raw(tmp_path, "c.jsonl", [pair(number, ticket=number % 8) for number in range(80, 100)])
    sources: list[dict[str, Any]] = [{"uri": f"file://{tmp_path}/raw/{name}.jsonl"} for name in "abc"]
    sources[1]["split"], sources[2]["split"] = "Validation", "Test"
    prepared = run(tmp_path, sources=sources, split={"groupBy": "ticket"})
    splits = prepared.data.splits
    assert (splits.train, splits.validation, splits.test) == (30, 20, 20)
    warning = "8 groups have rows in more than one given split: they measure partly the same"
    assert warning in findings(prepared)["warnings"]


def test_near_duplicates_whose_answers_differ_and_stable_ones_are_told(tmp_path: Path) -> None:
    copies = [story(3, changed=True, answer="no"), story(4, changed=True)]
    raw(tmp_path, "a.jsonl", [*map(story, range(40)), *copies])
    warnings = findings(run(tmp_path, split={"assignment": "Stable"}))["warnings"]
    uri = f"file://{tmp_path}/raw/a.jsonl"
    assert any(
        warning.startswith(
            f"1 rows leave as near duplicates though their answers differ, such as {uri}:41 for {uri}:4: "
        )
        for warning in warnings
    )
    assert any(warning.startswith("2 rows are nearly the same as earlier ones") for warning in warnings)


def test_stable_rows_stay_without_being_told_where_they_were(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(100)))
    before = splits_of(run(tmp_path, "first", split={"assignment": "Stable"}))
    raw(tmp_path, "b.jsonl", map(pair, range(100, 160)))
    after = splits_of(run(tmp_path, "second", split={"assignment": "Stable"}))
    assert {place: split for place, split in after.items() if place in before} == before


def test_rows_that_had_to_move_are_counted(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [pair(number, ticket=number) for number in range(100)])
    first = run(tmp_path, "first")
    raw(tmp_path, "a.jsonl", [pair(number, ticket=number // 2) for number in range(100)])
    grouped = run(tmp_path, "grouped", split={"groupBy": "ticket", "previousUri": first.data_uri})
    before, after = splits_of(first), splits_of(grouped)
    assert findings(grouped)["moved"] == sum(after[place] != split for place, split in before.items()) > 0


def test_no_prepared_data_is_a_mistake_in_its_field(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(100)))
    with pytest.raises(StageFailed) as failed:
        run(tmp_path, split={"previousUri": f"file://{tmp_path}/raw"})
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.MISMATCH, "spec.data.split.previousUri")


def quoting_rows() -> list[Row]:
    """Long rows, each of which holds the whole text of a short one: too unlike to be duplicates."""
    return [
        row
        for number in range(60)
        for row in (
            {"prompt": words(f"q{number}x"), "completion": "yes"},
            {"prompt": f"{words(f'p{number}x', 90)} {words(f'q{number}x')}", "completion": "yes"},
        )
    ]


def test_rows_to_measure_with_that_train_quotes_leave_and_the_split_is_cut_again(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", quoting_rows())
    split = {"trainPercent": 50, "validationPercent": 25, "testPercent": 25}
    with_them = run(tmp_path, "with", split=split, decontamination={"evaluation": False})
    prepared = run(tmp_path, split=split)
    assert removed(with_them) == []
    gone = removed(prepared)
    assert gone
    assert {kind for _, kind, _ in gone} == {"Contaminated"}
    places = splits_of(prepared)
    assert len(places) + len(gone) == 120
    for number in range(60):
        short, long = (places.get(f"a.jsonl:{2 * number + line}") for line in (1, 2))
        assert short in (None, "train") or long != "train"  # measured and quoted
    assert prepared.data.splits.train < with_them.data.splits.train


def test_rows_that_quote_a_benchmark_leave(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", quoting_rows())
    write_rows(
        tmp_path / "bench" / "exam.jsonl",
        [{"question": words("q7x"), "choices": ["one", "two"]}, {"question": words("unknown")}],
    )
    benchmarks = [{"uri": f"file://{tmp_path}/bench/*.jsonl"}]
    prepared = run(tmp_path, decontamination={"benchmarks": benchmarks, "evaluation": False})
    assert removed(prepared) == [("a.jsonl:15", "Contaminated", None), ("a.jsonl:16", "Contaminated", None)]
    again = run(tmp_path, "again", decontamination={"evaluation": False})
    assert again.data_digest != prepared.data_digest


def test_a_repeat_that_may_stay_and_quotes_a_benchmark_leaves_for_that(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [*map(story, range(40)), story(3), story(3, changed=True)])
    write_rows(tmp_path / "bench" / "exam.jsonl", [{"question": words("s3w")}])
    benchmarks = [{"uri": f"file://{tmp_path}/bench/*.jsonl"}]
    prepared = run(tmp_path, deduplication="Off", decontamination={"benchmarks": benchmarks, "evaluation": False})
    assert removed(prepared) == [(f"a.jsonl:{line}", "Contaminated", None) for line in (4, 41, 42)]


def test_a_quoted_question_is_found_whatever_stands_beside_it_and_rows_too_short_are_told(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", quoting_rows())
    exam = [{"question": words("q7x"), "rationale": words("why", 90)}, {"question": "2 + 2?"}, b"{"]
    split = [{"question": words("q8x", 30).split()[:9], "answer": words("q8x", 30).split()[9:]}]
    write_rows(tmp_path / "bench" / "exam.jsonl", [*exam, *split])
    benchmarks = [{"uri": f"file://{tmp_path}/bench/*.jsonl"}]
    prepared = run(tmp_path, decontamination={"benchmarks": benchmarks, "evaluation": False})
    assert [place for place, _, _ in removed(prepared)] == [f"a.jsonl:{line}" for line in (15, 16, 17, 18)]
    assert findings(prepared)["warnings"] == [
        "2 of 4 benchmark rows cannot be read or have fewer than 13 words: training rows that quote them are not found"
    ]


@pytest.mark.parametrize("rows", [[], [b"{", b"no"]])
def test_a_benchmark_of_which_nothing_can_be_read_names_its_field(tmp_path: Path, rows: list[bytes]) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(100)))
    write_rows(tmp_path / "bench" / "a.jsonl", [{"question": words("q")}])
    write_rows(tmp_path / "bench" / "b.jsonl", rows)
    benchmarks = [{"uri": f"file://{tmp_path}/bench/{name}.jsonl"} for name in "ab"]
    with pytest.raises(StageFailed, match="no row can be read") as failed:
        run(tmp_path, decontamination={"benchmarks": benchmarks})
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.field == "spec.data.decontamination.benchmarks[1].uri"


def test_a_benchmark_that_is_not_there_names_its_field(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(100)))
    with pytest.raises(StageFailed) as failed:
        run(tmp_path, decontamination={"benchmarks": [{"uri": f"file://{tmp_path}/bench/*.jsonl"}]})
    assert failed.value.failure.field == "spec.data.decontamination.benchmarks[0].uri"


@pytest.mark.parametrize("rows", [3, 10])
def test_few_rows_fill_every_split_with_a_warning(tmp_path: Path, rows: int) -> None:
    raw(tmp_path, "a.jsonl", map(pair, range(rows)))
    prepared = run(tmp_path)
    splits = prepared.data.splits
    assert (splits.train, splits.validation, splits.test) == (rows - 2, 1, 1)
    assert "validation has 1 row: what is measured on so few says little" in findings(prepared)["warnings"]


def test_rows_to_train_on_are_counted_also_where_data_is_used_again(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [*map(pair, range(30)), *map(pair, range(10))])
    data = run(tmp_path, minTrainRows=24)
    assert data.data.splits.train == 24
    (tmp_path / "scratch-out").rmdir()
    with pytest.raises(StageFailed, match=r"24 rows are left to train on, 25 are asked for; of 40 rows 10 were") as few:
        run(tmp_path, minTrainRows=25)
    assert few.value.report_uri == f"{data.data_uri}/report.html"


def test_rows_of_one_group_cannot_be_divided(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [pair(number, ticket="T1") for number in range(50)])
    with pytest.raises(
        StageFailed, match=r"spec\.data\.split: validation and test got none of the 50 usable rows"
    ) as no:
        run(tmp_path, split={"groupBy": "ticket"})
    assert (no.value.exit_code, no.value.failure.field) == (ExitCode.MISMATCH, "spec.data.split")


def test_rows_of_which_none_is_good_have_no_split(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [{"prompt": "a", "completion": " "}] * 3)
    with pytest.raises(StageFailed, match=r"spec\.data\.split: train and validation and test got none of the 0"):
        run(tmp_path)


def test_a_large_group_and_what_it_does_to_the_shares_are_told(tmp_path: Path) -> None:
    raw(tmp_path, "a.jsonl", [pair(number, ticket="T1" if number < 60 else number) for number in range(100)])
    warnings = findings(run(tmp_path, split={"groupBy": "ticket"}))["warnings"]
    assert "60 of 100 rows are one group, and stay in one split" in warnings


def test_rows_that_left_for_one_that_does_not_fit_are_told_of(tmp_path: Path) -> None:
    long = {"prompt": words("story", 100), "completion": "x" * 2000}
    raw(tmp_path, "a.jsonl", [story(0), long, *map(story, range(1, 60))])
    raw(tmp_path, "b.jsonl", [{"prompt": f"{long['prompt']} again", "completion": "yes"}, long, story(3, changed=True)])
    prepared = run(tmp_path, maxBadRowPercent=10)
    assert prepared.data.rows_rejected == 1
    assert removed(prepared) == [
        ("b.jsonl:1", "NearDuplicate", "a.jsonl:2"),
        ("b.jsonl:2", "Duplicate", "a.jsonl:2"),
        ("b.jsonl:3", "NearDuplicate", "a.jsonl:5"),
    ]
    (told,) = (warning for warning in findings(prepared)["warnings"] if "rejected afterwards" in warning)
    folder = f"file://{tmp_path}/raw"
    assert told == (
        "1 rows left as near duplicates of others that were rejected afterwards, so none is used: "
        f"{folder}/b.jsonl:1 for {folder}/a.jsonl:2; mend or shorten the rejected rows, "
        "or set spec.data.deduplication to Exact"
    )
