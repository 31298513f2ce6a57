"""Batches of columns to rows, taken apart a few at a time: a dictionary makes gigabytes of a few bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finetune_trainer.prepare.read.rows import MAX_DEPTH, MAX_MEMBERS, MAX_ROW_BYTES, BadLine, RawRow, Unreadable

_MEMBER_BYTES: Final = MAX_ROW_BYTES // MAX_MEMBERS
"""What a member weighs beside its text, so that one sum bounds both."""


def check_columns(schema: pa.Schema) -> None:
    """Raises Unreadable for columns that make no rows."""
    names = schema.names
    if len(names) > MAX_MEMBERS:
        raise Unreadable(f"it has more than {MAX_MEMBERS} columns")
    if len(set(names)) < len(names):
        raise Unreadable("two of its columns have one name")
    if any(_depth(kind) > MAX_DEPTH for kind in schema.types):
        raise Unreadable(f"its columns are more than {MAX_DEPTH} levels deep")


def rows_of_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[RawRow | BadLine]:
    """The rows, numbered from 1."""
    done = 0
    for batch in batches:
        sizes = sum((_row_bytes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))
        for start, stop in _portions(sizes):
            if sizes[start] > MAX_ROW_BYTES:
                reason = f"longer than {MAX_ROW_BYTES >> 20} MiB, or more than {MAX_MEMBERS} members"
                yield BadLine(done + start + 1, reason)
            else:
                yield from _rows(batch.slice(start, stop - start), done + start)
        done += batch.num_rows


def _portions(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of rows that are together no longer than a row may be; a longer row is alone."""
    start = held = 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and held + size > MAX_ROW_BYTES:
            yield start, row
            start, held = row, 0
        held += size
    if start < len(sizes):
        yield start, len(sizes)


def _rows(batch: pa.RecordBatch, done: int) -> Iterator[RawRow | BadLine]:
    try:
        columns = [_as_json(column).to_pylist() for column in batch.columns]
    except (ValueError, OverflowError, pa.ArrowNotImplementedError) as error:
        if batch.num_rows == 1:
            not_text = isinstance(error, UnicodeDecodeError)
            yield BadLine(done + 1, "not UTF-8" if not_text else f"holds a value that JSON cannot: {error}")
            return
        for row in range(batch.num_rows):
            yield from _rows(batch.slice(row, 1), done + row)
        return
    names = batch.schema.names
    for number, values in enumerate(zip(*columns, strict=True), start=done + 1):
        yield RawRow(number, dict(zip(names, values, strict=True)))


def _as_json(column: pa.Array) -> pa.Array:
    """Dates, decimals and the like as text, for a row is what JSON could hold."""
    kind = _json_type(column.type)
    return column if kind == column.type else pc.cast(column, kind)


def _json_type(kind: Any) -> Any:
    """The same type with text in place of dates and the like, at any depth: Python's own hold fewer than Arrow's."""
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        values = _json_type(kind.value_type)
        return kind if values == kind.value_type else values
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_json_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_json_type(kind.key_type), kind.item_field.with_type(_json_type(kind.item_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_json_type(kind.value_type)), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_json_type(kind.value_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_json_type(kind.value_type)))
    return kind


def _row_bytes(column: pa.Array) -> NDArray[np.int64]:
    """What each row of a column weighs, as text and members; its shape is (rows,)."""
    kind = column.type
    own = np.full(len(column), _MEMBER_BYTES, np.int64)
    if pa.types.is_dictionary(kind):
        # Of an empty dictionary every index is null.
        weights = np.append(_row_bytes(column.dictionary), _MEMBER_BYTES)
        indices = column.indices.cast(pa.int64()).fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(weights):
            raise Unreadable("a column points behind its dictionary")
        taken: NDArray[np.int64] = weights[indices]
        return taken
    if _is_text(kind):
        lengths = pc.binary_length(column).cast(pa.int64()).fill_null(0)
        own += lengths.to_numpy(zero_copy_only=False)
        return own
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            own += _row_bytes(column.field(index))
        return own
    if pa.types.is_fixed_size_list(kind):
        members = column.values.slice(column.offset * kind.list_size, len(column) * kind.list_size)
        own += _row_bytes(members).reshape(len(column), kind.list_size).sum(axis=1)
        return own
    if pa.types.is_map(kind):
        items = _row_bytes(column.keys) + _row_bytes(column.items)
        own += _by_list(items, column.offsets)
        return own
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        own += _by_list(_row_bytes(column.values), column.offsets)
        return own
    if pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return own
    raise Unreadable(f"a column of type {kind} is not supported")


def _by_list(weights: NDArray[np.int64], offsets: pa.Array) -> NDArray[np.int64]:
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(weights)])
    bounds = offsets.to_numpy(zero_copy_only=False)
    lists: NDArray[np.int64] = sums[bounds[1:]] - sums[bounds[:-1]]
    return lists


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _depth(kind: Any) -> int:
    return 1 + max((_depth(kind.field(index).type) for index in range(kind.num_fields)), default=0)
