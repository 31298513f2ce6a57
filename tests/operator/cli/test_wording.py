from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from finetune_api.model import Model
from finetune_operator.cli.wording import in_words


class Color(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Thing(Model):
    text: Annotated[str, Field(min_length=2, max_length=4)] = "ab"
    letter: Annotated[str, Field(min_length=1)] = "a"
    count: Annotated[int, Field(gt=0, lt=5)] = 1
    rate: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    color: Color = Color.RED
    kind: Literal["Thing"] = "Thing"
    parts: Annotated[tuple[str, ...], Field(max_length=1)] = ()
    made: Annotated[str, Field(pattern="^x$")] = "x"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text": "a"}, "must have at least 2 characters"),
        ({"text": "abcde"}, "must have at most 4 characters"),
        ({"letter": ""}, "must not be empty"),
        ({"letter": 4}, "must be text, not the number 4: put it in quotes"),
        ({"letter": True}, "must be text, not true: put it in quotes"),
        ({"letter": ["a"]}, "must be text, not a list"),
        ({"count": 0}, "must be more than 0"),
        ({"count": 5}, "must be less than 5"),
        ({"count": 1.5}, "must be a whole number, not the number 1.5"),
        ({"count": "x" * 99}, f'must be a whole number, not the text "{"x" * 39}…"'),
        ({"rate": 0.25}, "must be at least 0.5"),
        ({"rate": 3}, "must be at most 2"),
        ({"rate": {}}, "must be a number, not a mapping"),
        ({"color": "Green"}, 'must be Red or Blue, not the text "Green"'),
        ({"kind": "Think"}, 'must be Thing, not the text "Think"'),
        ({"parts": ["a", "b"]}, "must have at most 1 entries"),
        ({"parts": None}, "must be a list, not nothing"),
        ({"colour": "Red"}, "is not a field; did you mean color?"),
        ({"zzz": 1}, "is not a field"),
        ({"made": "y"}, "String should match pattern '^x$'"),
    ],
)
def test_an_error_is_told_in_words(body: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Thing.parse(body)
    (error,) = refused.value.errors()
    assert in_words(error, Thing.model_fields) == words


def test_what_is_missing_is_required() -> None:
    class Holder(Model):
        thing: Thing

    with pytest.raises(ValidationError) as refused:
        Holder.parse({})
    assert in_words(refused.value.errors()[0], ()) == "is required"
