"""Writes JSON-compatible values as readable YAML, without a YAML library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
# Words that some YAML 1.1 reader takes for a boolean or null.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def to_yaml(value: dict[str, Any]) -> str:
    """`value` as a block mapping in its own order; whatever could be read otherwise is quoted as in JSON."""
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: dict[str, Any]) -> Iterator[str]:
    for key, below in value.items():
        yield from _entry(f"{_scalar(key)}:", below)


def _entry(head: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from (f"  {line}" for line in _mapping(value))
    elif isinstance(value, list | tuple) and value:
        yield head
        for item in value:
            yield from _item(item)
    else:
        yield f"{head} {_scalar(value)}"


def _item(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        first, *rest = _mapping(value)
        yield f"- {first}"
        yield from (f"  {line}" for line in rest)
    else:
        yield f"- {json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else _scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, float) and "." not in repr(value):
        # YAML 1.1 takes 1e-09 for a string.
        return repr(value).replace("e", ".0e")
    return json.dumps(value, ensure_ascii=False)
