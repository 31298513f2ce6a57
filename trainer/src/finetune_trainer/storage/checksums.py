"""CRC-64/NVME, by which S3 tells whether an object is what was sent."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path

from awscrt.checksums import crc64nvme

_READ_BYTES = 8 << 20


def crc64(content: bytes, before: int = 0) -> int:
    """Of `content`, after what has `before`."""
    value: int = crc64nvme(content, before)
    return value


def of_file(path: Path) -> int:
    """Of all that a file holds. Raises OSError."""
    value = 0
    with path.open("rb") as file:
        while content := file.read(_READ_BYTES):
            value = crc64(content, value)
    return value


def encoded(value: int) -> str:
    """As S3 writes it."""
    return b64encode(value.to_bytes(8, "big")).decode()


def decoded(text: str) -> int:
    """As S3 has written it."""
    return int.from_bytes(b64decode(text), "big")
