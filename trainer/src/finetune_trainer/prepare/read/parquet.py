"""Parquet: what its footer claims is checked before a column is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from finetune_trainer.prepare.read.columns import check_columns, rows_of_batches
from finetune_trainer.prepare.read.compression import MAX_RATIO, UNSUSPECTED_BYTES
from finetune_trainer.prepare.read.rows import BadLine, RawRow, Unreadable

_BATCH_BYTES: Final = 4 << 20
_BATCH_ROWS: Final = 1024
_MAX_VALUES: Final = 1 << 24
"""Of one column in one row group: a thousandth of the bytes may stand for them in the file."""


def rows_of_parquet(file: BinaryIO) -> Iterator[RawRow | BadLine]:
    """The rows of a file that can be read anywhere. Raises Unreadable when it is damaged or a bomb."""
    try:
        yield from rows_of_batches(_batches(file))
    # Its two schemas may name different columns, or in no text.
    except (pa.ArrowException, KeyError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Parquet's
            raise
        raise Unreadable(str(error)) from error


def _batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    metadata = pq.read_metadata(file)
    texts: set[str] = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            _check_chunk(column, number)
            if column.physical_type == "BYTE_ARRAY":
                texts.add(column.path_in_schema)
    file.seek(0)
    # Text as dictionaries: a text that is repeated a million times is held once.
    opened = pq.ParquetFile(
        file, metadata=metadata, read_dictionary=sorted(texts), buffer_size=1 << 20, pre_buffer=False
    )
    check_columns(opened.schema_arrow)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
        rows = min(max(1, _BATCH_BYTES // row_bytes), _BATCH_ROWS)
        yield from opened.iter_batches(batch_size=rows, row_groups=[number], use_threads=False)


def _check_chunk(column: Any, number: int) -> None:
    unpacked, packed = column.total_uncompressed_size, column.total_compressed_size
    if unpacked > max(UNSUSPECTED_BYTES, MAX_RATIO * packed):
        raise Unreadable(f"{packed} bytes of row group {number + 1} become {unpacked >> 20} MiB; write it unpacked")
    if column.num_values > _MAX_VALUES:
        raise Unreadable(f"row group {number + 1} has more than {_MAX_VALUES} values in a column; write smaller ones")
