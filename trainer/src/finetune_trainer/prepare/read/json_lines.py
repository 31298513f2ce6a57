"""JSON Lines: one object in each line; a broken line costs itself only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetune_trainer.prepare.read.encoding import Notes
from finetune_trainer.prepare.read.json_value import row_of_json
from finetune_trainer.prepare.read.lines import lines_of
from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES, BadLine, RawRow


def rows_of_lines(blocks: Iterable[bytes], notes: Notes) -> Iterator[RawRow | BadLine]:
    """The rows of a text in UTF-8; blank lines are none."""
    for number, line in enumerate(lines_of(blocks), start=1):
        if line is None:
            yield BadLine(number, f"longer than {MAX_ROW_BYTES >> 20} MiB")
        elif content := line.strip():
            yield row_of_json(number, content, notes.encoding)
