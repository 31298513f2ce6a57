"""records/<split>.jsonl: the cleaned rows of each split, in the format of raw data, with where each came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RECORDS_FOLDER: Final = "records"


def record_line(source: str, line: int, row: Mapping[str, object]) -> bytes:
    """One line: the place as `source` and `line`, and the row's fields.

    Where the row has a field of that name, which other jobs read by it, the place is `raw_source` or `raw_line`.
    """
    place = {_free(name, row): value for name, value in (("source", source), ("line", line))}
    return json.dumps({**place, **row}, ensure_ascii=False).encode() + b"\n"


def _free(name: str, row: Mapping[str, object]) -> str:
    return _free(f"raw_{name}", row) if name in row else name


def records_path(folder: Path, split: str) -> Path:
    """Of a split, below the folder of prepared data."""
    return folder / RECORDS_FOLDER / f"{split}.jsonl"
