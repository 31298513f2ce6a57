"""Raw files in memory, and what reading makes of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
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


def in_every_format(columns: Mapping[str, list[str]]) -> dict[str, bytes]:
    """The rows of these columns in a file of each format, encoding and packing, by its name."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table = pa.table(dict(columns))
    return {
        "x.jsonl": lines.encode(),
        "x.NDJSON.GZ": gzip.compress(lines.encode()),
        "utf-16.jsonl": lines.encode("utf-16"),
        "bom.jsonl": lines.encode("utf-8-sig"),
        "cp1252.jsonl": lines.encode("cp1252"),
        "array.json": json.dumps(rows, indent=2).encode(),
        "lines.json.zst": zstd(lines.encode()),
        "comma.csv": delimited(columns, ",").encode(),
        "semicolon.csv": delimited(columns, ";").encode("cp1252"),
        "x.tsv.gz": gzip.compress(delimited(columns, "\t").encode()),
        "x.parquet": parquet(columns, row_group_size=7),
        "x.parquet.zst": zstd(parquet(columns)),
        "stream.arrow": arrow(table.to_batches(max_chunksize=9)),
        "file.arrow": arrow(table.to_batches(), file=True, compression="lz4"),
    }


def delimited(columns: Mapping[str, list[str]], delimiter: str) -> str:
    """A table with a header."""
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows([columns, *zip(*columns.values(), strict=True)])
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    """Packed, as one frame."""
    packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return packed
