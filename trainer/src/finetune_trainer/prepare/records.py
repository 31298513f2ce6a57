"""records/<split>.jsonl: the cleaned rows of each split, in the format of raw data, with where each came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

RECORDS_FOLDER: Final = "records"


def record_line(source: str, line: int, row: Mapping[str, object]) -> bytes:
    """One line. A field of the row wins over the place where it has the same name."""
    return json.dumps({"source": source, "line": line, **row}, ensure_ascii=False).encode() + b"\n"


def records_path(folder: Path, split: str) -> Path:
    """Of a split, below the folder of prepared data."""
    return folder / RECORDS_FOLDER / f"{split}.jsonl"
