"""`finetune validate`: every problem of every file at once, as `file:line: field: message`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from finetune_operator.cli.validate import validate
from jobs import make_body


def write(path: Path, name: str, **spec: object) -> Path:
    path.write_text(yaml.safe_dump(make_body(**spec) | {"metadata": {"name": name}}, sort_keys=False))
    return path


def test_valid_files_are_named_one_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path / f"{name}.yaml", name) for name in ("first", "second")]
    assert validate(files) == 0
    assert capsys.readouterr() == ("first: valid\nsecond: valid\n", "")


def test_all_problems_of_all_files_are_told_with_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        write(tmp_path / "first.yaml", "first", training={"epochs": 0}, workers={"nodes": 0}),
        write(tmp_path / "second.yaml", "second"),
        tmp_path / "absent.yaml",
    ]
    assert validate(files) == 1
    out, err = capsys.readouterr()
    assert out == ""
    text = files[0].read_text().splitlines()
    lines = {field: number for number, line in enumerate(text, 1) for field in ("epochs", "nodes") if field in line}
    told = [line.split(": ", 2)[:2] for line in err.splitlines()]
    assert [f"{files[0]}:{lines['epochs']}", "spec.training.epochs"] in told
    assert [f"{files[0]}:{lines['nodes']}", "spec.workers.nodes"] in told
    assert any(place == str(files[2]) for place, _ in told)
    assert len(told) == 3
