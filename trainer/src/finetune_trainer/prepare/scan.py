"""Pass 1 over one raw object: read, validate, clean, fingerprint, and spill the good rows to local disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.spec import Data
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier.split import NO_GROUP, group_key
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.clean import Cleaner
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.prepare.excerpt import around_change
from finetune_trainer.prepare.ledger import Ledger, LeftOut, Rejection, Removal
from finetune_trainer.prepare.prints import prints_of
from finetune_trainer.prepare.read import BadLine, Encoding, Notes, RawObject, RawRow, place, read_rows
from finetune_trainer.prepare.words import APART, learnt_text
from finetune_trainer.storage import PreconditionFailed, Storage
from finetune_trainer.tasks import Task
from finetune_trainer.tasks.labels import LABEL
from finetune_trainer.tasks.rows import EmptyRow, InvalidRow, Messages
from finetune_trainer.tasks.shapes import Shape
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
_EXAMPLES = 3
_FIELD_NAMES = 20
_NAME_CHARACTERS = 64
"""A longer one is no name but data, as where a table has no header, and stays out of messages."""


@dataclass(frozen=True)
class GoodRow:
    """A row that passed."""

    line: int
    messages: Messages
    steps: Step
    """What cleaning did to it."""
    group: object
    """What stands in the field of `spec.data.split.groupBy`; None where it has none."""


@dataclass
class Tally:
    """What is counted over all objects."""

    rows: int = 0
    """Rows of any kind; blank lines are none."""
    parsed: int = 0
    """Those that can be read."""
    grouped: int = 0
    """Those of them that have the field of `spec.data.split.groupBy`."""
    absent: Counter[str] = field(default_factory=Counter)
    """Rows that do not have the field which this field of the spec maps."""
    field_names: set[str] = field(default_factory=set)
    """The first names that were met."""
    shapes: Counter[Shape] = field(default_factory=Counter)
    """Rows that could be read, by what they look like."""
    encodings: Counter[Encoding] = field(default_factory=Counter)
    """Files of text, by how they are written."""
    steps: Counter[Step] = field(default_factory=Counter)
    """Rows that each step of cleaning changed."""
    examples: dict[Step, list[tuple[str, str, str]]] = field(default_factory=dict)
    """Place of a row, and parts of its text before and after, for the report."""

    def add(self, later: Tally) -> None:
        """What was counted over the objects that come next."""
        self.rows += later.rows
        self.parsed += later.parsed
        self.grouped += later.grouped
        self.absent.update(later.absent)
        self.shapes.update(later.shapes)
        self.encodings.update(later.encodings)
        self.steps.update(later.steps)
        if len(self.field_names) < _FIELD_NAMES:
            self.field_names |= later.field_names
        for step, examples in later.examples.items():
            mine = self.examples.setdefault(step, [])
            mine += examples[: _EXAMPLES - len(mine)]


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

    def line(self, row: int) -> int:
        """Where the row, counted from 0, stands in its object."""
        return int(self.lines(row, 1)[0])

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


@dataclass(frozen=True)
class Scanned:
    """What pass 1 makes of an object."""

    spill: Spill
    tally: Tally
    left_out: LeftOut


@dataclass(frozen=True)
class Scan:
    """Pass 1: a call for each object."""

    task: Task
    data: Data
    sources: tuple[str, ...]
    """Uris of all objects."""
    storage: Storage
    folder: Path
    """Local, for spills."""

    def __call__(self, task: tuple[int, RawObject], told: Callable[[int], None]) -> Scanned:
        """Of an object and its number; `told` hears of rows as they are read. Raises StageFailed."""
        number, raw = task
        stored = raw.stored
        # The digest says what stood there when it was listed. The next attempt lists anew.
        changed = StageFailed(ExitCode.RETRY, "DataChanged", f"{stored.uri} changed while it was read")
        path = self.folder / f"{number:05d}.arrow"
        folder = path.with_suffix(".ledger")
        folder.mkdir()
        tally = Tally()
        with Ledger(folder, self.sources) as ledger:
            try:
                with blame(raw.field), self.storage.open(stored.uri) as stream:
                    spill = scan(
                        stream,
                        source=number,
                        raw=raw,
                        task=self.task,
                        data=self.data,
                        ledger=ledger,
                        tally=tally,
                        path=path,
                        told=told,
                    )
            except PreconditionFailed as error:
                raise changed from error
            now = self.storage.stat(stored.uri)
            if now is None or now.etag != stored.etag:
                raise changed
            return Scanned(spill, tally, ledger.left_out())


def scan(
    stream: BinaryIO,
    *,
    source: int,
    raw: RawObject,
    task: Task,
    data: Data,
    ledger: Ledger,
    tally: Tally,
    path: Path,
    told: Callable[[int], None],
) -> Spill:
    """Spill the good rows of object number `source` to `path`; `told` hears how many more rows were read."""
    blocks: list[Block] = []
    cleaner = Cleaner(data.cleaning)
    notes = Notes()
    heard = 0
    with (
        path.open("wb") as spill,
        path.with_suffix(".prints").open("wb") as prints,
        path.with_suffix(".groups").open("wb") as groups,
        path.with_suffix(".lines").open("wb") as lines,
    ):
        rows = read_rows(stream, raw, scratch=path.parent, notes=notes)
        for good in _batched(_good_rows(rows, source, task, data.split.group_by, cleaner, ledger, tally)):
            start = spill.tell()
            blocks.append(Block(start, spill.write(_to_arrow(good).serialize()), len(good)))
            prints.write(prints_of([row.messages for row in good]).tobytes())
            groups.write(b"".join(NO_GROUP if row.group is None else group_key(row.group) for row in good))
            lines.write(np.array([row.line for row in good], dtype=np.int64).tobytes())
            told(tally.rows - heard)
            heard = tally.rows
    if notes.encoding is not None:
        tally.encodings[notes.encoding] += 1
    return Spill(path, tuple(blocks))


def _good_rows(
    rows: Iterator[RawRow | BadLine],
    source: int,
    task: Task,
    group_by: str | None,
    cleaner: Cleaner,
    ledger: Ledger,
    tally: Tally,
) -> Iterator[GoodRow]:
    for row in rows:
        tally.rows += 1
        if isinstance(row, BadLine):
            ledger.reject(source, row.line, Rejection.UNREADABLE, row.reason)
            continue
        tally.parsed += 1
        tally.shapes[task.shape(row.fields)] += 1
        group = row.fields.get(group_by) if group_by else None
        tally.grouped += group is not None
        if len(tally.field_names) < _FIELD_NAMES:
            tally.field_names.update(name for name in row.fields if len(name) <= _NAME_CHARACTERS)
        try:
            raw = task.parse(row.fields)
            messages, done = cleaner.messages(raw)
            task.check(messages)
        except InvalidRow as invalid:
            if invalid.absent:
                tally.absent[invalid.absent] += 1
            ledger.reject(source, row.line, Rejection.INVALID, invalid.reason, field=invalid.field)
            continue
        except EmptyRow:
            ledger.remove(source, row.line, Removal.EMPTY)
            continue
        if done:
            _count(tally, place(ledger.sources[source], row.line), raw, messages, done, cleaner)
        refused = cleaner.refusal(messages)
        if refused is not None:
            ledger.remove(source, row.line, Removal.FILTERED, reason=refused)
            continue
        yield GoodRow(row.line, messages, done, group)


def _count(tally: Tally, place: str, before: Messages, after: Messages, steps: Step, cleaner: Cleaner) -> None:
    tally.steps.update(steps)
    if all(len(tally.examples.get(step, ())) == _EXAMPLES for step in steps):
        return
    # An empty system message is left out, and only definitions of tools stand before it.
    for raw, cleaned in zip(before[len(before) - len(after) :], after, strict=True):
        if raw.role == cleaned.role and raw.content != cleaned.content:
            for step in cleaner.text(raw.content)[1] & steps:
                examples = tally.examples.setdefault(step, [])
                if len(examples) < _EXAMPLES:
                    examples.append((place, *around_change(raw.content, cleaned.content)))


def _batched(rows: Iterator[GoodRow]) -> Iterator[list[GoodRow]]:
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


def _to_arrow(rows: list[GoodRow]) -> pa.RecordBatch:
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
