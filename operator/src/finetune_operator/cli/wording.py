"""A validator's complaint in the words of a person who writes manifests."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from pydantic_core import ErrorDetails

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "dict_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "must be more than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "too_short": ("min_length", "must have at least {} entries"),
    "too_long": ("max_length", "must have at most {} entries"),
    "enum": ("expected", "must be {}"),
    "literal_error": ("expected", "must be {}"),
}


def in_words(error: ErrorDetails, known: Collection[str]) -> str:
    """`error`, completing "<field> …"; `known` are the fields beside the one that it is about."""
    kind = error["type"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"is not a field; did you mean {near[0]}?" if near else "is not a field"
    if kind in _TYPES:
        quotes = ": put it in quotes" if kind == "string_type" and isinstance(error["input"], int | float) else ""
        return f"must be {_TYPES[kind]}, not {_seen(error['input'])}{quotes}"
    if kind in _BOUNDS:
        key, sentence = _BOUNDS[kind]
        bound = error["ctx"][key]
        if key == "expected":
            choices = bound.replace("'", "")
            return f"{sentence.format(choices)}, not {_seen(error['input'])}"
        if key == "min_length" and bound == 1:
            return "must not be empty"
        return sentence.format(f"{bound:g}" if isinstance(bound, float) else bound)
    return error["msg"]


def _seen(value: Any) -> str:
    """What stands there instead, short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f'the text "{value if len(value) <= 40 else value[:39] + "…"}"'
    if isinstance(value, bool):
        return str(value).lower()
    return f"the number {value}" if isinstance(value, int | float) else "nothing"
