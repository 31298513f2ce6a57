"""Pass 1 over one raw object: read, validate, clean, fingerprint, and spill the good rows to local disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from finetune_api.spec import Data
from finetune_trainer.prepare.barrier.split import NO_GROUP, group_key
from finetune_trainer.prepare.clean import Cleaner
from finetune_trainer.prepare.ledger import Ledger, LeftOut, Rejection, Removal
from finetune_trainer.prepare.prints import prints_of
from finetune_trainer.prepare.read import BadLine, Notes, RawObject, RawRow, place, read_rows
from finetune_trainer.prepare.spill import Block, GoodRow, Spill, batched, to_arrow
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepare.unchanged import opened
from finetune_trainer.storage import Storage
from finetune_trainer.tasks import Task
from finetune_trainer.tasks.rows import EmptyRow, InvalidRow, text_of


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
        path = self.folder / f"{number:05d}.arrow"
        folder = path.with_suffix(".ledger")
        folder.mkdir()
        tally = Tally()
        with Ledger(folder, self.sources) as ledger:
            with opened(self.storage, raw) as stream:
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
        for good in batched(_good_rows(rows, source, task, data.split.group_by, cleaner, ledger, tally)):
            start = spill.tell()
            blocks.append(Block(start, spill.write(to_arrow(good).serialize()), len(good)))
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
        group = _group(row.fields[group_by]) if group_by in row.fields else None
        tally.parse(row.fields, task.shape(row.fields), grouped=group is not None)
        try:
            if group_by is not None and group is not None:
                text_of(json.dumps(group, ensure_ascii=False, default=str), group_by)
            raw = task.parse(row.fields)
            messages, done = cleaner.messages(raw)
            task.check(messages, row.fields)
        except InvalidRow as invalid:
            if invalid.absent:
                tally.absent[invalid.absent] += 1
            ledger.reject(source, row.line, Rejection.INVALID, invalid.reason, field=invalid.field)
            continue
        except EmptyRow:
            ledger.remove(source, row.line, Removal.EMPTY)
            continue
        if done:
            tally.repair(place(ledger.sources[source], row.line), raw, messages, done, cleaner)
        refused = cleaner.refusal(messages)
        if refused is not None:
            ledger.remove(source, row.line, Removal.FILTERED, reason=refused)
            continue
        yield GoodRow(row.line, messages, done, group)


def _group(value: object) -> object:
    """None where the cell of a table is empty, too: rows that lack their group are not one."""
    empty = not value.strip() if isinstance(value, str) else isinstance(value, float) and math.isnan(value)
    return None if empty else value
