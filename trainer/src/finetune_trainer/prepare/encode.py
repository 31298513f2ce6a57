"""Pass 2: good rows that are kept become documents of token ids, in Arrow shards, one folder a split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier.labels import spelt
from finetune_trainer.prepare.barrier.split import NOWHERE
from finetune_trainer.prepare.ledger import Rejection
from finetune_trainer.prepare.model.files import FIELD
from finetune_trainer.prepare.records import record_line
from finetune_trainer.prepare.shards import DocumentList, Part
from finetune_trainer.prepare.spill import Block, messages_of, read_block
from finetune_trainer.prepared import (
    SPLITS,
    line_of,
    row_id,
    row_place,
)
from finetune_trainer.tasks import Task, documents_of
from finetune_trainer.tasks.rows import Document, Messages, Room, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, EncodingMismatch, NotEncodable, Proven

_MASK: Final = (1 << 64) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15
_PROVEN_LINES: Final = 10
"""Of each file; of the others, one in a hundred."""


def encode_row(
    messages: Messages, *, row: int, task: Task, tokenizer: ChatTokenizer, room: Room
) -> tuple[Document, ...]:
    """The documents of the row with this id. Raises NotEncodable, TooLong, or EncodingMismatch where it is proven."""
    return documents_of(messages, task, Proven(tokenizer) if is_proven(row) else tokenizer, room)


def is_proven(row: int) -> bool:
    """Whether the encoding of the row with this id is compared with that of the tokenizer's makers."""
    return line_of(row) <= _PROVEN_LINES or row * _SPREAD & _MASK < _MASK // 100


@dataclass(frozen=True)
class KeptRows:
    """A batch of a spill, and the splits to which its rows go."""

    source: int
    spill: Path
    block: Block
    splits: NDArray[np.int8]
    """A SplitName each, or NOWHERE."""
    first: int
    """Number of its first row among all rows."""


class RejectedRow(NamedTuple):
    """A kept row of which no documents can be made."""

    number: int
    """Among all rows."""
    line: int
    kind: Rejection
    reason: str


@dataclass
class EncodedRows:
    """What pass 2 makes of a batch."""

    rows: int
    parts: dict[int, Part] = field(default_factory=dict)
    """By SplitName."""
    repaired: int = 0
    """Rows of the parts that cleaning changed."""
    truncated: int = 0
    """Rows of the parts of which something was left out to make them fit."""
    rejected: list[RejectedRow] = field(default_factory=list)


@dataclass(frozen=True)
class Encode:
    """Pass 2: a call for each batch."""

    task: Task
    room: Room
    sources: tuple[str, ...]
    load: Callable[[], ChatTokenizer]
    labels: Mapping[str, str] | None = None
    """How they are written, by what stood in rows."""
    group_by: str | None = None
    """The field that rows keep beside those of the task."""

    @cached_property
    def _tokenizer(self) -> ChatTokenizer:
        return self.load()

    def __call__(self, kept: KeptRows, _told: object) -> EncodedRows:
        batch = read_block(kept.spill, kept.block)
        encoded = EncodedRows(batch.num_rows)
        lists: dict[int, DocumentList] = {}
        records: dict[int, list[bytes]] = {}
        columns = (batch.column(name).to_pylist() for name in ("line", "steps", "group"))
        rows = zip(messages_of(batch), kept.splits.tolist(), *columns, strict=True)
        for number, (messages, split, line, done, group) in enumerate(rows, kept.first):
            if split == NOWHERE:
                continue
            row = row_id(kept.source, line)
            if self.labels is not None:
                messages = spelt(messages, self.labels)
            try:
                documents = encode_row(
                    messages,
                    row=row,
                    task=self.task,
                    tokenizer=self._tokenizer,
                    room=self.room,
                )
            except TooLong as error:
                encoded.rejected.append(RejectedRow(number, line, Rejection.TOO_LONG, str(error)))
            except NotEncodable as error:
                encoded.rejected.append(RejectedRow(number, line, Rejection.INVALID, str(error)))
            except EncodingMismatch as error:
                raise self._mismatch(row, error) from error
            else:
                if split not in lists:
                    lists[split] = DocumentList(with_texts=SPLITS[split] != "train")
                    encoded.parts[split] = Part()
                    records[split] = []
                lists[split].add(row, documents)
                records[split].append(self._record(self.sources[kept.source], line, messages, group))
                encoded.parts[split].rows += 1
                encoded.repaired += done != 0
                encoded.truncated += any(document.cut for document in documents)
        for split, documents_of_split in lists.items():
            encoded.parts[split].documents = documents_of_split.to_bytes()
            encoded.parts[split].records = b"".join(records[split])
        return encoded

    def _mismatch(self, row: int, error: EncodingMismatch) -> StageFailed:
        """Nothing that the data can change, and no other attempt would end otherwise."""
        where = row_place(row, self.sources)
        message = f"{FIELD}: {where}: the tokenizer {error}; report this with the file's version"
        return StageFailed(ExitCode.MISMATCH, "EncodingMismatch", message, field=FIELD, places=(where,))

    def _record(self, uri: str, line: int, messages: Messages, group: str | None) -> bytes:
        grouped = {} if group is None or self.group_by is None else {self.group_by: json.loads(group)}
        return record_line(uri, line, grouped | self.task.record(messages))
