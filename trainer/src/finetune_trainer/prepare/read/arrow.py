"""Arrow IPC, both as a stream and as a file: a file is the stream between two marks."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from finetune_trainer.prepare.read.arrow_message import unpacked_bytes
from finetune_trainer.prepare.read.columns import check_columns, rows_of_batches
from finetune_trainer.prepare.read.rows import BadLine, RawRow, Unreadable

_MARK: Final = b"ARROW1\0\0"
_MAX_MESSAGE_BYTES: Final = 256 << 20
"""A batch is read whole."""


def rows_of_arrow(blocks: Iterator[bytes]) -> Iterator[RawRow | BadLine]:
    """The rows. Raises Unreadable when the file is damaged, or a batch of it too large."""
    stream = _Stream(blocks)
    stream.skip(_MARK)
    try:
        with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as reader:
            check_columns(reader.schema)
            yield from rows_of_batches(_valid(reader))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise Unreadable(f"its metadata is damaged: {error}") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Arrow's
            raise
        raise Unreadable(str(error)) from error


def _valid(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Arrow believes what it maps: offsets that lead out of a buffer would end the process."""
    for batch in batches:
        batch.validate(full=True)
        yield batch


class _Stream:
    """Blocks as Arrow reads them: a message's metadata in one call, its body in another."""

    closed = False

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._ahead = b""
        self._metadata = b""

    def skip(self, mark: bytes) -> None:
        """If this is what comes next."""
        start = self.read(len(mark))
        self._ahead = start.removeprefix(mark) + self._ahead
        self._metadata = b""

    def read(self, size: int) -> bytes:
        if size > _MAX_MESSAGE_BYTES:
            raise Unreadable(f"a batch of {size >> 20} MiB; write batches of at most {_MAX_MESSAGE_BYTES >> 20} MiB")
        held = bytearray(self._ahead)
        while len(held) < size and (block := next(self._blocks, b"")):
            held += block
        self._ahead = bytes(held[size:])
        content = bytes(held[:size])
        self._follow(content)
        return content

    def _follow(self, content: bytes) -> None:
        """A message is a mark and a length of four bytes each, its metadata, and a body where it has one."""
        if len(content) == 4:
            self._metadata = b""
        elif not self._metadata:
            self._metadata = content
        elif (unpacked := unpacked_bytes(self._metadata, content)) > _MAX_MESSAGE_BYTES:
            raise Unreadable(
                f"a batch that unpacks to {unpacked >> 20} MiB; write batches of at most {_MAX_MESSAGE_BYTES >> 20} MiB"
            )

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """The blocks belong to whoever made them."""
