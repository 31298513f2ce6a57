"""Arrow IPC, both as a stream and as a file: a file is the stream between two marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

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
            yield from rows_of_batches(reader)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Arrow's
            raise
        raise Unreadable(str(error)) from error


class _Stream:
    """Blocks as Arrow reads them: a message's metadata in one call, its body in another."""

    closed = False

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._ahead = b""

    def skip(self, mark: bytes) -> None:
        """If this is what comes next."""
        start = self.read(len(mark))
        self._ahead = start.removeprefix(mark) + self._ahead

    def read(self, size: int) -> bytes:
        if size > _MAX_MESSAGE_BYTES:
            raise Unreadable(f"a batch of {size >> 20} MiB; write batches of at most {_MAX_MESSAGE_BYTES >> 20} MiB")
        content = bytearray(self._ahead)
        while len(content) < size and (block := next(self._blocks, b"")):
            content += block
        self._ahead = bytes(content[size:])
        return bytes(content[:size])

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """The blocks belong to whoever made them."""
