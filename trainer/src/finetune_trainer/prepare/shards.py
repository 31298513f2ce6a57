"""Encoded documents on their way to the files of their split: shards, index and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from finetune_trainer.prepare.records import records_path
from finetune_trainer.prepared import (
    INDEX_FILE,
    INDEX_SCHEMA,
    SHARD_SCHEMA,
    SHARD_TOKENS,
    SplitFiles,
    write_batch,
)
from finetune_trainer.tasks.rows import Document

_SCHEMA: Final = pa.schema([*INDEX_SCHEMA, *SHARD_SCHEMA])
"""One line a document, on its way to the split's index and shards."""


@dataclass
class Part:
    """Rows of one split out of a batch."""

    rows: int = 0
    documents: bytes = b""
    """As DocumentList gives them."""
    records: bytes = b""
    """The rows as lines of raw data."""


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
            items = trained if document.items is None else document.items
            bounds = [bound for span in encoded.trained for bound in span]
            ids = np.array(encoded.ids, dtype=np.int32)
            texts = (document.prompt, document.answer) if self._with_texts else (None, None)
            line = (row, len(ids), trained, items, ids, bounds, encoded.breaks, *texts, document.labels)
            for column, value in zip(self._columns, line, strict=True):
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
        _, lengths, trained, _ = columns
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
