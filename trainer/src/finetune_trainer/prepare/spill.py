"""Good rows on local disk between the passes: Arrow batches, and beside them their fingerprints and lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.prepare.words import APART, learnt_text
from finetune_trainer.tasks.labels import LABEL
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message, ToolCall

BATCH_ROWS: Final = 1024
_BATCH_CHARACTERS: Final = 4 << 20
"""A batch ends where it has either: a thousand of the longest rows would not fit in memory."""


_CALL = pa.struct([("id", pa.string()), ("name", pa.string()), ("arguments", pa.large_string())])
_MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.large_string()),
        ("calls", pa.list_(_CALL)),  # null for none, and call_id too: few rows have any
        ("call_id", pa.string()),
    ]
)
_SPILL_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("messages", pa.list_(_MESSAGE)),
        ("steps", pa.int32()),
        ("group", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class GoodRow:
    """A row that passed."""

    line: int
    messages: Messages
    steps: Step
    """What cleaning did to it."""
    group: object
    """What stands in the field of `spec.data.split.groupBy`; None where it has none."""


class Block(NamedTuple):
    """Where a batch lies in a spill."""

    start: int
    size: int
    """Bytes."""
    rows: int


@dataclass(frozen=True)
class Spill:
    """The good rows of one object, in line order, N of them."""

    path: Path
    blocks: tuple[Block, ...]
    """At most BATCH_ROWS each."""

    @cached_property
    def rows(self) -> int:
        """N."""
        return sum(block.rows for block in self.blocks)

    @property
    def prints(self) -> Path:
        """Their fingerprints, N of prints.PRINT."""
        return self.path.with_suffix(".prints")

    @property
    def groups(self) -> Path:
        """The keys of their groups, N of uint64."""
        return self.path.with_suffix(".groups")

    @property
    def _lines(self) -> Path:
        return self.path.with_suffix(".lines")

    def every_line(self) -> NDArray[np.int64]:
        """Where each row stands in its object, shape (N,): mapped, so that the lines of a few rows cost no reading."""
        return np.memmap(self._lines, dtype=np.int64, mode="r")

    def lines(self, start: int, rows: int) -> NDArray[np.int64]:
        """The same of some rows, shape (rows,)."""
        return np.fromfile(self._lines, dtype=np.int64, count=rows, offset=8 * start)

    def labels(self) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
        """Of each batch of rows: how many labels each row has, and all of them in order."""
        for block in self.blocks:
            batch = read_block(self.path, block)
            rows = batch.column("messages")
            turns = rows.flatten()
            found = pc.equal(turns.field("role"), LABEL)
            of_row = pc.list_parent_indices(rows).filter(found).to_numpy()
            yield np.bincount(of_row, minlength=batch.num_rows), turns.field("content").filter(found).to_pylist()


def read_block(path: Path, block: Block) -> pa.RecordBatch:
    """A batch of the spill at `path`: line, messages, the steps that changed them, and the group as JSON."""
    with path.open("rb") as file:  # not mapped: what was read of a large file would count as memory
        file.seek(block.start)
        return pa.ipc.read_record_batch(pa.py_buffer(file.read(block.size)), _SPILL_SCHEMA)


def messages_of(batch: pa.RecordBatch) -> Iterator[Messages]:
    """The texts of its rows."""
    for row in batch.column("messages").to_pylist():
        yield _from_arrow(row)


def learnt_texts(batch: pa.RecordBatch, wanted: NDArray[np.bool_]) -> list[str]:
    """The learnt text of each wanted row, as words.learnt_text says it, without making messages of rows."""
    batch = batch.filter(pa.array(wanted))
    rows = batch.column("messages")
    turns = rows.flatten()
    if turns.field("calls").null_count < len(turns):
        return [learnt_text(messages) for messages in messages_of(batch)]
    learnt = pc.invert(pc.is_in(turns.field("role"), pa.array(sorted(APART))))
    contents = iter(turns.field("content").filter(learnt).to_pylist())
    of_row = pc.list_parent_indices(rows).filter(learnt).to_numpy()
    return ["\n".join(islice(contents, number)) for number in np.bincount(of_row, minlength=len(rows)).tolist()]


def batched(rows: Iterator[GoodRow]) -> Iterator[list[GoodRow]]:
    """In order, as many at once as a spill's batch holds."""
    batch: list[GoodRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(len(message.content) for message in row.messages)
        if len(batch) == BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def to_arrow(rows: list[GoodRow]) -> pa.RecordBatch:
    """A spill's batch."""
    columns = [
        [row.line for row in rows],
        [[_struct(message) for message in row.messages] for row in rows],
        [int(row.steps) for row in rows],
        [None if row.group is None else json.dumps(row.group, default=str) for row in rows],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SPILL_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=_SPILL_SCHEMA)


def _struct(message: Message) -> dict[str, object]:
    written: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        written["calls"] = [call._asdict() for call in message.calls]
    if message.call_id:
        written["call_id"] = message.call_id
    return written


def _from_arrow(row: list[dict[str, Any]]) -> Messages:
    return tuple(
        Message(
            turn["role"],
            turn["content"],
            tuple(ToolCall(**call) for call in turn["calls"] or ()),
            turn["call_id"] or "",
        )
        for turn in row
    )
