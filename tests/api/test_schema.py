from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from finetune_api.model import Model
from finetune_api.rules import Rule, matching
from finetune_api.schema import NotExpressible, structural

Short = Annotated[str, Field(max_length=8)]
Small = Annotated[int, Field(ge=0, le=9)]


class Color(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Inner(Model):
    """An inner thing."""

    size: Small = 3
    """How large."""
    name: Short | None = None
    """How called."""


class Ruled(Model):
    """A thing with a rule."""

    low: Small = 0
    high: Small = 9

    rules = (Rule("self.low <= self.high", "must not be below low", lambda ruled: ruled.low <= ruled.high, "high"),)


class Level(IntEnum):
    ONE = 1
    TWO = 2


class Loop(BaseModel):
    below: Annotated[tuple[Loop, ...], Field(max_length=2)] = ()


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: Short


def schema_of(annotation: Any, default: Any = ..., *, authored: bool = True) -> Any:
    """The schema of a field of that type."""
    model = create_model("Thing", __base__=Model, field=(annotation, default))
    return structural(model, authored=authored)["properties"]["field"]


@pytest.mark.parametrize(
    ("annotation", "default", "schema"),
    [
        (Short, ..., {"type": "string", "maxLength": 8}),
        (Short | None, None, {"type": "string", "maxLength": 8}),
        (bool, False, {"type": "boolean", "default": False}),
        (Small, 0, {"type": "integer", "minimum": 0, "maximum": 9, "default": 0}),
        (
            Annotated[float, Field(gt=0, lt=0.5)],
            ...,
            {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 0.5, "exclusiveMaximum": True},
        ),
        (
            Annotated[int, Field(ge=8, le=64, multiple_of=8)],
            ...,
            {"type": "integer", "minimum": 8, "maximum": 64, "multipleOf": 8},
        ),
        (Color, Color.RED, {"type": "string", "enum": ["Red", "Blue"], "default": "Red"}),
        (Literal["s3"], ..., {"type": "string", "enum": ["s3"]}),
        (datetime, ..., {"type": "string", "format": "date-time"}),
        (
            Annotated[str, Field(max_length=9, pattern="^[a-z]+$")],
            ...,
            {"type": "string", "maxLength": 9, "pattern": "^[a-z]+$"},
        ),
        (
            Annotated[tuple[Short, ...], Field(min_length=1, max_length=2)],
            ("a",),
            {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "x-kubernetes-list-type": "atomic",
                "items": {"type": "string", "maxLength": 8},
                "default": ["a"],
            },
        ),
        (
            Annotated[frozenset[Short], Field(max_length=2)],
            ...,
            {
                "type": "array",
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
                "items": {"type": "string", "maxLength": 8},
            },
        ),
        (
            Annotated[dict[str, Short], Field(max_length=2)],
            {},
            {
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "string", "maxLength": 8},
                "default": {},
            },
        ),
        (
            Annotated[str, Field(max_length=2), matching("[a-z]", "must be a letter")],
            ...,
            {
                "type": "string",
                "maxLength": 2,
                "x-kubernetes-validations": [{"rule": 'self.matches("^([a-z])$")', "message": "must be a letter"}],
            },
        ),
        (
            Inner,
            Inner(),
            {
                "type": "object",
                "description": "An inner thing.",
                "properties": {
                    "size": {"type": "integer", "description": "How large.", "minimum": 0, "maximum": 9, "default": 3},
                    "name": {"type": "string", "description": "How called.", "maxLength": 8},
                },
                "default": {},
            },
        ),
    ],
)  # fmt: skip
def test_a_type_is_converted(annotation: Any, default: Any, schema: dict[str, Any]) -> None:
    assert schema_of(annotation, default) == schema


def test_a_default_with_rules_is_written_out_because_rules_are_checked_before_defaults_apply_below() -> None:
    assert schema_of(Ruled, Ruled())["default"] == {"low": 0, "high": 9}
    assert schema_of(Ruled, Ruled())["x-kubernetes-validations"] == [
        {"rule": "self.low <= self.high", "message": "must not be below low", "fieldPath": ".high"}
    ]


def test_a_list_of_structs_is_merged_by_the_keys_that_it_names() -> None:
    by_name = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    keyed = Annotated[tuple[Inner, ...], Field(max_length=2, json_schema_extra=by_name)]
    schema = schema_of(keyed, (), authored=False)
    assert {key: schema[key] for key in by_name} == by_name


def test_required_fields_are_listed() -> None:
    model = create_model("Thing", __base__=Model, b=(Short, ...), a=(Short, ...), c=(Short | None, None))
    assert structural(model, authored=True)["required"] == ["a", "b"]


def test_descriptions_are_joined_but_an_enum_has_that_of_its_field() -> None:
    described = create_model(
        "Thing",
        __base__=Model,
        inner=(Annotated[Inner, Field(description="Once.")], ...),
        stage=(Annotated[Color, Field(description="Its color.")], ...),
    )
    properties = structural(described, authored=True)["properties"]
    assert properties["inner"]["description"] == "An inner thing. Once."
    assert properties["stage"]["description"] == "Its color."


def test_what_the_operator_writes_has_no_defaults_and_needs_no_bounds() -> None:
    assert schema_of(str, "x", authored=False) == {"type": "string"}
    assert schema_of(tuple[Inner, ...], (), authored=False)["items"]["properties"]["size"]["type"] == "integer"
    assert "default" not in schema_of(Inner, Inner(), authored=False)


@pytest.mark.parametrize(
    ("annotation", "default", "reason"),
    [
        (str, ..., "Thing.field: a string needs a max_length"),
        (int, ..., "Thing.field: a number needs a ge or gt, and a le or lt"),
        (Annotated[int, Field(ge=0)], ..., "a number needs"),
        (tuple[Short, ...], ..., "Thing.field: a list needs a max_length"),
        (dict[str, Short], ..., "Thing.field: a map needs a max_length"),
        (Annotated[dict[str, str], Field(max_length=1)], ..., r"Thing.field.\*: a string needs a max_length"),
        (Annotated[tuple[str, ...], Field(max_length=1)], ..., r"Thing.field\[\]: a string needs a max_length"),
        (Short | Small, ..., "Thing.field: a union: write a struct with `type`"),
        (Short | Small | None, None, "a union"),
        (Short | None, ..., "Thing.field: null as a value"),
        (tuple[Short, Small], ..., "Thing.field: prefixItems on type array"),
        (Any, ..., "Thing.field: a value of any type"),
        (dict[str, Any], ..., "an object needs fields, or a map of strings"),
        (Annotated[dict[str, Any], Field(max_length=1)], ..., "an object needs fields"),
        (Annotated[dict[Short, Short], Field(max_length=1)], ..., "propertyNames on type object"),
        (Loose, ..., "Thing.field: fields beside free keys"),
        (Annotated[str, Field(max_length=9, pattern=r"^(?i)a")], ..., r"'\(\?': spell out"),
        (Annotated[str, Field(max_length=9, pattern=r"^\d+$")], ..., "spell out"),
        (Annotated[str, Field(max_length=9, json_schema_extra={"format": "uri"})], ..., "format uri is unknown"),
        (Annotated[float, Field(ge=0.1, le=1)], ..., "a minimum of 0.1 lets 0 pass"),
        (Inner, Inner(size=5), "its default is not made of its fields' own defaults"),
        (Annotated[tuple[Inner, ...], Field(max_length=1)], ..., r"Thing.field\[\].size: a default within a list"),
        (Literal["a", 1], ..., "a value of any type"),
        (Level, ..., "Thing.field: enum on type integer has no counterpart"),
    ],
)
def test_what_kubernetes_cannot_express_is_refused(annotation: Any, default: Any, reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        schema_of(annotation, default)


def test_a_model_that_contains_itself_is_refused() -> None:
    with pytest.raises(NotExpressible, match=r"Loop\.below\[\].*: Loop contains itself"):
        structural(Loop, authored=True)
