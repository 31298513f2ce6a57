"""Pass 2: good rows that are kept become documents of token ids, in Arrow shards, one folder a split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier.labels import spelt
from finetune_trainer.prepare.barrier.split import NOWHERE
from finetune_trainer.prepare.ledger import Rejection
from finetune_trainer.prepare.model.files import FIELD
from finetune_trainer.prepare.records import record_line, records_path
from finetune_trainer.prepare.scan import Block, messages_of, read_block
from finetune_trainer.prepared import (
    INDEX_FILE,
    INDEX_SCHEMA,
    SHARD_SCHEMA,
    SHARD_TOKENS,
    SPLITS,
    SplitFiles,
    line_of,
    row_id,
    row_place,
    write_batch,
)
from finetune_trainer.tasks import Task
from finetune_trainer.tasks.rows import Document, Messages, Room, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, EncodingMismatch, NotEncodable, Proven

_SCHEMA: Final = pa.schema([*INDEX_SCHEMA, *SHARD_SCHEMA])
"""One line a document, on its way to the split's index and shards."""


_MASK: Final = (1 << 64) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15
_PROVEN_LINES: Final = 10
"""Of each file; of the others, one in a hundred."""


def encode_row(
    messages: Messages, *, row: int, task: Task, tokenizer: ChatTokenizer, room: Room
) -> tuple[Document, ...]:
    """The documents of the row with this id. Raises NotEncodable, TooLong, or EncodingMismatch where it is proven."""
    if is_proven(row):
        tokenizer = Proven(tokenizer)
    documents = tuple(task.encode(messages, tokenizer))
    if not all(start < end for document in documents for start, end in document.encoded.trained):
        raise NotEncodable("the tokenizer makes no tokens of what is to be learnt")
    if max(len(document.encoded.ids) for document in documents) > room.tokens:
        documents = tuple(task.shorten(messages, documents, tokenizer, room))
    return documents


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


@dataclass
class Part:
    """Rows of one split out of a batch."""

    rows: int = 0
    documents: bytes = b""
    """As DocumentList gives them."""
    records: bytes = b""
    """The rows as lines of raw data."""


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
    rejected: list[tuple[int, Rejection, str]] = field(default_factory=list)
    """Line and reason."""


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
        for messages, split, line, done, group in zip(messages_of(batch), kept.splits.tolist(), *columns, strict=True):
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
                encoded.rejected.append((line, Rejection.TOO_LONG, str(error)))
            except NotEncodable as error:
                encoded.rejected.append((line, Rejection.INVALID, str(error)))
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
        for split, documents_of in lists.items():
            encoded.parts[split].documents = documents_of.to_bytes()
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


class DocumentList:
    """Documents of one split, in row order."""

    def __init__(self, *, with_texts: bool) -> None:
        """Train has no use for texts."""
        self._with_texts = with_texts
        self._columns: tuple[list[Any], ...] = tuple([] for _ in _SCHEMA)

    def add(self, row: int, documents: Iterable[Document]) -> None:
        """Those of one row."""
        for document in documents:
            encoded = document.encoded
            trained = sum(end - start for start, end in encoded.trained)
            bounds = [bound for span in encoded.trained for bound in span]
            ids = np.array(encoded.ids, dtype=np.int32)
            texts = (document.prompt, document.answer) if self._with_texts else (None, None)
            for column, value in zip(
                self._columns, (row, len(ids), trained, ids, bounds, *texts, document.labels), strict=True
            ):
                column.append(value)

    def to_bytes(self) -> bytes:
        """For SplitWriter, of this process or another."""
        arrays = [pa.array(column, kind) for column, kind in zip(self._columns, _SCHEMA.types, strict=True)]
        serialized: bytes = pa.record_batch(arrays, schema=_SCHEMA).serialize().to_pybytes()
        return serialized


class SplitWriter:
    """Collects the documents of one split and writes a shard whenever there are SHARD_TOKENS."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """`scratch` is a local folder, where the index grows: with the split, it does not fit in memory."""
        self.folder = folder
        self.rows = 0
        self._index = tuple((scratch / f"{folder.name}-{column.name}").open("w+b") for column in INDEX_SCHEMA)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_tokens = 0
        self._shards = 0
        self._labels: Counter[str] = Counter()
        path = records_path(folder.parent, folder.name)
        path.parent.mkdir(exist_ok=True)
        self._records = path.open("wb")

    def add(self, part: Part) -> None:
        """The next rows, in row order."""
        self.rows += part.rows
        self._records.write(part.records)
        batch = pa.ipc.read_record_batch(pa.py_buffer(part.documents), _SCHEMA)
        for file, column in zip(self._index, batch.columns, strict=False):
            file.write(column.to_numpy())
        self._labels.update(batch.column("labels").flatten().to_pylist())
        shard = batch.select(SHARD_SCHEMA.names)
        ends = np.cumsum(batch.column("length").to_numpy(), dtype=np.int64)
        start, before = 0, 0
        while (end := int(np.searchsorted(ends, before + SHARD_TOKENS - self._waiting_tokens)) + 1) <= len(ends):
            self._waiting.append(shard.slice(start, end - start))
            self._write_shard()
            start, before = end, int(ends[end - 1])
        if start < len(ends):
            self._waiting.append(shard.slice(start))
            self._waiting_tokens += int(ends[-1]) - before

    def close(self) -> SplitFiles:
        """Write what is left, and the index. Returns the totals."""
        if self._waiting:
            self._write_shard()
        columns = []
        for file, column in zip(self._index, INDEX_SCHEMA, strict=True):
            file.flush()
            dtype = column.type.to_pandas_dtype()
            empty = file.tell() == 0  # which cannot be mapped
            columns.append(np.zeros(0, dtype) if empty else np.memmap(file, dtype, mode="r"))
        arrays = [pa.array(column, kind) for column, kind in zip(columns, INDEX_SCHEMA.types, strict=True)]
        write_batch(self.folder / INDEX_FILE, pa.record_batch(arrays, schema=INDEX_SCHEMA))
        for file in self._index:
            file.close()
        self._records.close()
        _, lengths, trained = columns
        return SplitFiles(
            documents=len(lengths),
            tokens=int(lengths.sum(dtype=np.int64)),
            trained=int(trained.sum(dtype=np.int64)),
            labels=dict(sorted(self._labels.items())),
        )

    def _write_shard(self) -> None:
        # Made anew: what a slice drags along would be written, too, and differ with where batches ended.
        table = pa.Table.from_batches(self._waiting).combine_chunks()
        (batch,) = table.to_batches()
        write_batch(self.folder / f"{self._shards:05d}.arrow", batch)
        self._shards += 1
        self._waiting = []
        self._waiting_tokens = 0
