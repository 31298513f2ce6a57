"""One row of JSON: an object, within bounds that hold before it is parsed."""

from __future__ import annotations

import json
import re
from typing import Final

from finetune_trainer.prepare.read.encoding import Encoding, decoded
from finetune_trainer.prepare.read.rows import MAX_DEPTH, MAX_MEMBERS, BadLine, RawRow

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
"""Possessive, for the engine would note each character of a long text as a place to come back to."""
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def row_of_json(line: int, content: bytes, encoding: Encoding | None) -> RawRow | BadLine:
    """The row that `content`, in UTF-8, holds."""
    if too_large := excess(content):
        return BadLine(line, too_large)
    try:
        value = json.loads(decoded(content, encoding))
    except json.JSONDecodeError as error:
        return BadLine(line, f"not JSON at column {error.colno}: {error.msg.removesuffix(' at')}")
    except ValueError as error:
        reason = str(error)
        return BadLine(line, reason if reason.startswith("not ") else f"not JSON that can be read: {reason}")
    return RawRow(line, value) if isinstance(value, dict) else BadLine(line, "not a JSON object")


def excess(content: bytes) -> str | None:
    """What there is too much of in a value, or in the start of one.

    Only a text that has as many commas or brackets at all is looked at closely.
    """
    many = content.count(b",") >= MAX_MEMBERS
    deep = content.count(b"[") + content.count(b"{") > MAX_DEPTH
    if not many and not deep:
        return None
    bare = _STRING.sub(b"", content).partition(b'"')[0]
    if bare.count(b",") >= MAX_MEMBERS:
        return f"more than {MAX_MEMBERS} members"
    return f"more than {MAX_DEPTH} levels deep" if deep and _is_too_deep(bare) else None


def _is_too_deep(bare: bytes) -> bool:
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
