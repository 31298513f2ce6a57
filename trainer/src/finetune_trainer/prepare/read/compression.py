"""An object's content in blocks, unpacked where its name says so, and no more of it than can be meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import pyarrow as pa

from finetune_trainer.prepare.read.find import Compression
from finetune_trainer.prepare.read.rows import Unreadable

BLOCK_BYTES: Final = 1 << 20
MAX_RATIO: Final = 200
"""Text packs three- to tenfold, and much repeated text a hundredfold; a bomb a thousandfold and more."""
UNSUSPECTED_BYTES: Final = 64 << 20
"""What a few kilobytes may become without a question."""


def blocks_of(stream: BinaryIO, compression: Compression | None) -> Iterator[bytes]:
    """The content, BLOCK_BYTES at a time. Raises Unreadable when it is damaged or grows beyond MAX_RATIO."""
    if compression is None:
        while block := stream.read(BLOCK_BYTES):
            yield block
        return
    packed = _Counted(stream)
    num_bytes = 0
    unpacked = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), compression.value)
    while block := _read(unpacked):
        num_bytes += len(block)
        if num_bytes > max(UNSUSPECTED_BYTES, MAX_RATIO * packed.num_bytes):
            raise Unreadable(
                f"{packed.num_bytes} bytes of {compression.value} become more than {num_bytes >> 20} MiB; "
                "if that is meant, store the file unpacked"
            )
        yield block


def _read(unpacked: pa.NativeFile) -> bytes:
    try:
        block: bytes = unpacked.read(BLOCK_BYTES)
    except OSError as error:
        if error.errno is not None:  # the disk's, not the codec's
            raise
        raise Unreadable(str(error)) from error
    return block


class _Counted:
    """A stream as Arrow reads it, and how much of it was read."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.num_bytes = 0

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self.num_bytes += len(content)
        return content

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Whoever opened the stream closes it."""
