"""Pass 2: good rows that are kept become documents of token ids, in Arrow shards, one folder a split."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finetune_trainer.prepared import INDEX_FILE, INDEX_SCHEMA, SHARD_SCHEMA, SHARD_TOKENS, SplitFiles, write_batch
from finetune_trainer.tasks import Task
from finetune_trainer.tasks.rows import Document, Messages
from finetune_trainer.tokenizers import ChatTokenizer, NotEncodable


class TooLong(Exception):
    """The row does not fit; it is never cut, for an answer that is cut teaches to stop there."""


def encode_row(
    messages: Messages, *, task: Task, tokenizer: ChatTokenizer, sequence_length: int
) -> tuple[Document, ...]:
    """The row's documents. Raises NotEncodable or TooLong."""
    documents = tuple(task.encode(messages, tokenizer))
    if not all(start < end for document in documents for start, end in document.encoded.trained):
        raise NotEncodable("the tokenizer makes no tokens of what is to be learnt")
    longest = max(len(document.encoded.ids) for document in documents)
    if longest > sequence_length:
        raise TooLong(f"{longest} tokens, spec.training.sequenceLength is {sequence_length}")
    return documents


class SplitWriter:
    """Collects the documents of one split and writes a shard whenever there are SHARD_TOKENS."""

    def __init__(self, folder: Path, *, with_texts: bool) -> None:
        """Train has no use for texts."""
        self.folder = folder
        self.rows = 0
        # Plain integers would take ten times the memory; the index is all that grows with the split.
        self._index = array("q")
        self._waiting: list[tuple[NDArray[np.int32], list[int], str | None, str | None, tuple[str, ...]]] = []
        self._waiting_tokens = 0
        self._labels: Counter[str] = Counter()
        self._shards = 0
        self._with_texts = with_texts

    def add(self, row: int, documents: Iterable[Document]) -> None:
        """The documents of one row, in row order."""
        self.rows += 1
        for document in documents:
            encoded = document.encoded
            ids = np.array(encoded.ids, dtype=np.int32)
            self._index.extend((row, len(ids), sum(end - start for start, end in encoded.trained)))
            bounds = [bound for span in encoded.trained for bound in span]
            texts = (document.prompt, document.answer) if self._with_texts else (None, None)
            self._waiting.append((ids, bounds, *texts, document.labels))
            self._labels.update(document.labels)
            self._waiting_tokens += len(ids)
            if self._waiting_tokens >= SHARD_TOKENS:
                self._write_shard()

    def close(self) -> SplitFiles:
        """Write what is left, and the index. Returns the totals."""
        if self._waiting:
            self._write_shard()
        index = np.frombuffer(self._index, dtype=np.int64).reshape(-1, 3)
        columns = [pa.array(column, kind) for column, kind in zip(index.T, INDEX_SCHEMA.types, strict=True)]
        write_batch(self.folder / INDEX_FILE, pa.record_batch(columns, schema=INDEX_SCHEMA))
        return SplitFiles(
            documents=len(index),
            tokens=int(index[:, 1].sum()),
            trained=int(index[:, 2].sum()),
            labels=dict(sorted(self._labels.items())),
        )

    def _write_shard(self) -> None:
        columns = zip(*self._waiting, strict=True)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, SHARD_SCHEMA.types, strict=True)]
        write_batch(self.folder / f"{self._shards:05d}.arrow", pa.record_batch(arrays, schema=SHARD_SCHEMA))
        self._shards += 1
        self._waiting = []
        self._waiting_tokens = 0
