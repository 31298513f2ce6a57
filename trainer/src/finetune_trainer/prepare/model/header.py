"""What a safetensors file says of its tensors, read without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from finetune_trainer.storage import Storage, StoredObject

Header = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of each tensor of a file, by name."""

_HEADER_MAX_BYTES: Final = 100 << 20  # the limit of the safetensors library


class NotSafetensors(Exception):
    """The file is something else, or its end is missing; the message says where it lies."""


def read_header(storage: Storage, stored: StoredObject) -> Header:
    """Raises NotSafetensors, and what the storage raises."""
    try:
        size = int.from_bytes(storage.read(stored.uri, 0, 8)[0], "little")
        if size > min(_HEADER_MAX_BYTES, stored.size):
            raise ValueError(f"a header of {size} bytes")
        header = json.loads(storage.read(stored.uri, 8, size)[0])
        header.pop("__metadata__", None)
        end = 8 + size + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        tensors = {name: (str(tensor["dtype"]), tuple(tensor["shape"])) for name, tensor in header.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise NotSafetensors(f"{stored.uri} is not safetensors: {error}") from error
    if end != stored.size:
        raise NotSafetensors(f"{stored.uri} has {stored.size} bytes where its header says {end}")
    return tensors
