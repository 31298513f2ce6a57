"""`finetune prepare`: what a person sees, what lies in the folder then, and that it takes no other's."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from local_cli import processes_under
from local_preparation import LocalPreparation


@pytest.fixture
def preparation(tmp_path: Path) -> LocalPreparation:
    found = LocalPreparation(tmp_path)
    found.write()
    return found


def lines(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


DATA = [
    "Verdict Good to train: 970 of 1,000 rows; 2 things to look at",
    "Look at 10 rows are wrong",
    "test is small",
    "Rows 1,000 rows in: 30 cleaned, 10 rejected, 20 removed → 790 train, 90 validation, 90 test",
    "Tokens 40,000 to train on, 20,000 of them learnt",
]


def test_the_verdict_the_counts_and_where_the_report_lies_are_told(preparation: LocalPreparation) -> None:
    status, said = preparation.run()
    out = preparation.out
    assert (status, lines(said)[-7:]) == (
        0,
        [*DATA, f"Report {out}/latest/report.html", f"Records {out}/latest/records"],
    )
    assert (out / "latest" / "report.json").exists()
    assert {path.name for path in out.iterdir()} == {"prepared", "latest", ".work"}
    assert {path.name for path in (out / ".work").iterdir()} == {"lock", "prepare.log"}


def test_the_same_data_again_is_told_and_other_data_lies_beside_it(preparation: LocalPreparation) -> None:
    preparation.run()
    status, said = preparation.run()
    assert status == 0
    assert "Unchanged data and settings are those of an earlier time, so nothing was prepared anew" in lines(said)

    status, said = preparation.run({"STAND_IN_DIGEST": "def"})
    assert (status, lines(said)[-1]) == (0, f"Kept 1 earlier preparation in {preparation.out}/prepared")
    assert (preparation.out / "latest").resolve().name == "def"


def test_bad_rows_end_it_with_the_stages_code_and_the_report_to_look_at(preparation: LocalPreparation) -> None:
    status, said = preparation.run({"STAND_IN_BAD": "true"})
    out, told = preparation.out, lines(said)
    assert status == 66
    begin = told.index("Failed 10 rows are wrong (TooManyBadRows)")
    assert told[begin + 1 :] == [
        "Change spec.data.sources",
        "Places a:7",
        *DATA,
        f"Report {out}/latest/report.html",
        f"Records {out}/latest/records",
        f"Log {out}/.work/prepare.log",
    ]


def test_a_mistake_that_leaves_no_data_names_the_field_and_no_report(preparation: LocalPreparation) -> None:
    status, said = preparation.run({"STAND_IN_FAIL": "Prepare"})
    assert status == 65
    assert lines(said)[-5:] == [
        "Failed No row is left. (NoRows)",
        "Change spec.data.sources",
        "Places raw.jsonl:7",
        "raw.jsonl:9",
        f"Log {preparation.out}/.work/prepare.log",
    ]
    assert not (preparation.out / "latest").exists()


def test_a_folder_that_holds_something_else_is_left_alone(preparation: LocalPreparation, tmp_path: Path) -> None:
    thesis = tmp_path / "documents" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    status, said = preparation.run(out=thesis.parent)
    assert (status, lines(said)) == (
        1,
        [
            f"--out {thesis.parent}: holds 'thesis.tex', which `finetune prepare` did not write; take another folder",
        ],
    )
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.tex"]


def test_a_path_that_no_uri_can_name_and_a_file_are_refused(preparation: LocalPreparation, tmp_path: Path) -> None:
    status, said = preparation.run(out=tmp_path / "100%")
    assert status == 1
    assert lines(said)[0].startswith(f"--out {tmp_path}/100%: must be")

    status, said = preparation.run(out=tmp_path / "job.yaml")
    assert (status, len(lines(said))) == (1, 1)
    assert "job.yaml" in said


def test_a_stopped_preparation_leaves_nothing_but_the_folder(preparation: LocalPreparation) -> None:
    with preparation.start({"STAND_IN_SECONDS": "60"}) as process:
        assert process.stdout is not None
        assert "reading, 12,345 rows" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Stopped. What is half done does not count; called again, it starts anew." in said
    assert not (preparation.out / "latest").exists()
    assert not (preparation.out / ".work" / "scratch").exists()


def test_a_folder_is_written_by_one_process_at_a_time(preparation: LocalPreparation) -> None:
    with preparation.start({"STAND_IN_SECONDS": "60"}) as first:
        assert first.stdout is not None
        first.stdout.readline()
        status, said = preparation.run()
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert (status, lines(said)[-1]) == (
        1,
        f"{preparation.folder}/job.yaml: {preparation.out} is written by process {first.pid} already",
    )


def test_the_jobs_own_mistakes_are_told_before_anything_is_made(preparation: LocalPreparation) -> None:
    preparation.write(data={"split": {"trainPercent": 99}})
    status, said = preparation.run()
    assert status == 1
    assert "spec.data.split: must have trainPercent" in said
    assert not preparation.out.exists()


def test_killed_it_takes_the_trainer_along(preparation: LocalPreparation) -> None:
    with preparation.start({"STAND_IN_SECONDS": "60"}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while processes_under(preparation.out / ".work"):
        assert time.monotonic() < deadline, "the trainer outlived its owner by a minute"
        time.sleep(0.05)
