"""Reasons, read back from the lists of rows that were left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.prepare.report.model import LeftOut
from finetune_trainer.prepare.report.reasons import MOST_REASONS, reasons_in


def entry(line: int, reason: str | None = None, kind: str = "Invalid", **more: Any) -> dict[str, Any]:
    told = {} if reason is None else {"reason": reason}
    return {"source": "file:///raw/a.jsonl", "line": line, "kind": kind, **told, **more}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "rejected.jsonl"


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in entries))
    return path


def test_reasons_that_differ_in_names_and_numbers_are_one(listed: Path) -> None:
    write(
        listed,
        entry(1, "messages[1] has the unknown role 'bot'"),
        entry(2, "empty answer"),
        entry(3, "messages[1] has the unknown role 'narrator'"),
        entry(4, "messages[1] has the unknown role 'x'"),
        entry(5, "messages[1] has the unknown role 'y'"),
    )

    assert reasons_in(listed) == (
        LeftOut(
            kind="Invalid",
            reason="messages[1] has the unknown role …",
            rows=4,
            places=("file:///raw/a.jsonl:1", "file:///raw/a.jsonl:3", "file:///raw/a.jsonl:4"),
        ),
        LeftOut(kind="Invalid", reason="empty answer", rows=1, places=("file:///raw/a.jsonl:2",)),
    )


def test_rows_that_something_stands_for_name_it(listed: Path) -> None:
    (found,) = reasons_in(write(listed, entry(9, kind="Duplicate", kept="file:///raw/a.jsonl:2")))

    assert (found.kind, found.reason, found.kept) == ("Duplicate", "", ("file:///raw/a.jsonl:2",))


def test_reasons_without_end_go_under_one_heading(listed: Path) -> None:
    letters = ("".join(chr(ord("a") + int(digit)) for digit in str(number)) for number in range(3 * MOST_REASONS))

    found = reasons_in(write(listed, *(entry(number, reason) for number, reason in enumerate(letters))))

    assert len(found) == MOST_REASONS + 1
    assert (found[0].reason, found[0].rows) == ("other reasons", 2 * MOST_REASONS)


def test_a_reason_that_looks_like_its_own_summary_is_another_one(listed: Path) -> None:
    assert len(reasons_in(write(listed, entry(1, "role 'x'"), entry(2, "role …")))) == 2
