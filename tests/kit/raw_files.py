"""Raw files in memory, and what reading makes of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from finetune_api.spec import TextDocument
from finetune_trainer.prepare.read import BadLine, Notes, RawObject, RawRow, read_rows
from finetune_trainer.prepare.read.find import format_of
from finetune_trainer.storage import StoredObject


def raw_object(name: str, *, text_document: TextDocument = TextDocument.FILE) -> RawObject:
    """An object called so."""
    form = format_of(name)
    assert form is not None, name
    stored = StoredObject(uri=name, size=0, etag="")
    kind, compression = form
    return RawObject(
        stored=stored,
        source=0,
        field="spec.data.sources[0].uri",
        kind=kind,
        compression=compression,
        text_document=text_document,
    )


def rows_of(
    content: bytes | BinaryIO,
    name: str,
    *,
    scratch: Path = Path("/nowhere"),
    notes: Notes | None = None,
    text_document: TextDocument = TextDocument.FILE,
) -> list[RawRow | BadLine]:
    """All that reading an object of this name and content gives."""
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    raw = raw_object(name, text_document=text_document)
    return list(read_rows(stream, raw, scratch=scratch, notes=notes or Notes()))


def parquet(columns: Mapping[str, Any] | pa.Table, **how: Any) -> bytes:
    """A Parquet file with these columns."""
    sink = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(dict(columns)), sink, **how)
    return sink.getvalue()


def arrow(batches: Iterable[pa.RecordBatch], *, file: bool = False, compression: str | None = None) -> bytes:
    """An Arrow stream, or an Arrow file."""
    batches = list(batches)
    sink = io.BytesIO()
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with make(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()
