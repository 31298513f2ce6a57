"""Raw rows out of stored objects of every format: one module each, all of them streaming in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read.arrow import rows_of_arrow
from finetune_trainer.prepare.read.compression import blocks_of
from finetune_trainer.prepare.read.delimited import rows_of_table
from finetune_trainer.prepare.read.encoding import Encoding, Notes, as_utf8
from finetune_trainer.prepare.read.find import Format, RawObject, find_objects
from finetune_trainer.prepare.read.json_file import rows_of_json_file
from finetune_trainer.prepare.read.json_lines import rows_of_lines
from finetune_trainer.prepare.read.parquet import rows_of_parquet
from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES, BadLine, RawRow, Unreadable, place
from finetune_trainer.prepare.read.text import rows_of_text

__all__ = [
    "LIBRARIES",
    "MAX_ROW_BYTES",
    "BadLine",
    "Encoding",
    "Format",
    "Notes",
    "RawObject",
    "RawRow",
    "find_objects",
    "place",
    "read_rows",
]

LIBRARIES: Final = {"pyarrow": version("pyarrow")}
"""The version of what reads tables, and writes shards."""


def read_rows(stream: BinaryIO, raw: RawObject, *, scratch: Path, notes: Notes) -> Iterator[RawRow | BadLine]:
    """What stands in each row of an object, whose content is `stream`; `notes` learns what the object is like.

    `scratch` is a local folder for what cannot be read from start to end. Raises StageFailed, naming the place, where
    the object is damaged or too large for what it claims to be.
    """
    line = 0
    try:
        for row in _rows(stream, raw, scratch, notes):
            line = row.line
            yield row
    except Unreadable as error:
        number = line if error.line is None else error.line
        where = f"after row {line}" if error.line is None else f"at line {error.line}"
        message = f"{raw.uri} is damaged {where}: {error}"
        raise StageFailed(
            ExitCode.MISMATCH,
            "DataCorrupt",
            message,
            field=raw.field,
            places=(place(raw.uri, number),),
        ) from error


def _rows(
    stream: BinaryIO,
    raw: RawObject,
    scratch: Path,
    notes: Notes,
) -> Iterator[RawRow | BadLine]:
    blocks = blocks_of(stream, raw.compression)
    match raw.kind:
        case Format.JSON_LINES:
            yield from rows_of_lines(as_utf8(blocks, notes), notes)
        case Format.JSON:
            yield from rows_of_json_file(as_utf8(blocks, notes), notes)
        case Format.COMMA_SEPARATED:
            yield from rows_of_table(as_utf8(blocks, notes), notes, None)
        case Format.TAB_SEPARATED:
            yield from rows_of_table(as_utf8(blocks, notes), notes, "\t")
        case Format.TEXT:
            yield from rows_of_text(as_utf8(blocks, notes), notes, raw.text_document)
        case Format.ARROW:
            yield from rows_of_arrow(blocks)
        case Format.PARQUET:
            with _seekable(blocks, stream, scratch, packed=raw.compression is not None) as file:
                yield from rows_of_parquet(file)


@contextmanager
def _seekable(blocks: Iterator[bytes], stream: BinaryIO, scratch: Path, *, packed: bool) -> Iterator[BinaryIO]:
    """Parquet begins at its end: what streams only, or is packed, is put down first."""
    if not packed and stream.seekable():
        yield stream
        return
    with TemporaryFile(dir=scratch) as file:
        file.writelines(blocks)
        file.seek(0)
        yield file
