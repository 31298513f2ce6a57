"""How much memory a message of Arrow IPC asks for, told before Arrow gives it.

Buffers may be packed, each behind its unpacked length, and pyarrow unpacks them unasked. What is read here is
Message.fbs of the format: a message holds a record batch, or a dictionary batch that holds one.
"""

from __future__ import annotations

import struct
from typing import Final

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3


def unpacked_bytes(metadata: bytes, body: bytes) -> int:
    """Bytes of a message's buffers; 0 for one without. Raises struct.error when the message is damaged."""
    message = _at(metadata, 0)
    kind = _slot(metadata, message, 1)
    header = _table(metadata, message, 2)
    if kind is None or header is None:
        return 0
    if metadata[kind] == _DICTIONARY_BATCH:
        header = _table(metadata, header, 1)
    elif metadata[kind] != _RECORD_BATCH:
        return 0
    if header is None or _slot(metadata, header, 3) is None:
        return len(body)
    buffers = _table(metadata, header, 2)
    if buffers is None:
        return 0
    (count,) = struct.unpack_from("<I", metadata, buffers)
    total = 0
    for index in range(count):
        start, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * index)
        if length >= 8:
            (unpacked,) = struct.unpack_from("<q", body, start)
            total += length if unpacked < 0 else unpacked
    return total


def _at(metadata: bytes, position: int) -> int:
    """Where the offset that stands at `position` leads."""
    (offset,) = struct.unpack_from("<I", metadata, position)
    return position + int(offset)


def _slot(metadata: bytes, table: int, number: int) -> int | None:
    """Where a field of a table stands, if it is there."""
    (back,) = struct.unpack_from("<i", metadata, table)
    (size,) = struct.unpack_from("<H", metadata, table - back)
    if 4 + 2 * number >= size:
        return None
    (offset,) = struct.unpack_from("<H", metadata, table - back + 4 + 2 * number)
    return table + int(offset) if offset else None


def _table(metadata: bytes, table: int, number: int) -> int | None:
    slot = _slot(metadata, table, number)
    return None if slot is None else _at(metadata, slot)
