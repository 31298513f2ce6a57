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
    """`value` as a block mapping in its own order; whatever could be read otherwise is quoted as in JSON.

    Raises ValueError for text with characters that YAML forbids.
    """
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: dict[str, Any] | list[Any] | tuple[Any, ...]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _entry(f"{_scalar(key)}:", below)
        return
    for below in value:
        if _nested(below):
            first, *rest = _lines(below)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {_scalar(below)}"


def _entry(head: str, value: Any) -> Iterator[str]:
    if not _nested(value):
        yield f"{head} {_scalar(value)}"
        return
    yield head
    yield from (f"  {line}" for line in _lines(value))


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list | tuple) and len(value) > 0


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, float) and "." not in repr(value):
        # YAML 1.1 takes 1e-09 for a string.
        return repr(value).replace("e", ".0e")
    quoted = json.dumps(value, ensure_ascii=False)
    if not quoted.isprintable():
        raise ValueError(f"{value!a} holds a character that YAML forbids")
    return quoted
