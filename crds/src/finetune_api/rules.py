"""What types cannot say, each rule written once: CEL for the API server, a predicate for Python, one message."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

CEL_KEY = "x-kubernetes-validations"


class NotPortable(ValueError):
    """A regular expression that Python, Rust and RE2 would read differently."""


@dataclass(frozen=True)
class Rule:
    """One rule, about a model (`Model.rules`) or about one value (in its `Annotated[...]`).

    `message` completes "<field> …". Python decides by `holds`, the API server by `cel`; tests keep them equal.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""
    """Wire name of the field to change, below the value that the rule is about: `promptField`."""

    def error(self) -> PydanticCustomError:
        """What Python raises where the rule is broken; type `rule`."""
        return PydanticCustomError("rule", "{message}", {"message": self.message})

    def to_cel(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        return {
            "rule": self.cel,
            "message": self.message,
            **({"fieldPath": f".{self.field}"} if self.field else {}),
        }

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Any:
            if not self.holds(value):
                raise self.error()
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules(handler(schema), (self,))


def with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    """`schema` with the rules' CEL after those that it already has."""
    if not rules:
        return schema
    return {**schema, CEL_KEY: [*schema.get(CEL_KEY, ()), *(rule.to_cel() for rule in rules)]}


def matching(pattern: str, message: str) -> Rule:
    """The whole string matches. A rule and not a schema `pattern`, for that is refused with the bare expression."""
    expression = re.compile(portable(pattern), re.ASCII)
    return Rule(
        cel=f"self.matches({json.dumps(f'^({pattern})$')})",
        message=message,
        holds=lambda value: expression.fullmatch(value) is not None,
    )


def keys_matching(pattern: str, *, max_length: int, message: str) -> Rule:
    """Of a map, every key matches as a whole; a structural schema cannot speak of keys."""
    expression = re.compile(portable(pattern), re.ASCII)
    return Rule(
        cel=f"self.all(key, size(key) <= {max_length} && key.matches({json.dumps(f'^({pattern})$')}))",
        message=message,
        holds=lambda value: all(len(key) <= max_length and expression.fullmatch(key) for key in value),
    )


def keys_not_starting(*reserved: str) -> Rule:
    """Of a map, no key begins with any of `reserved`."""
    return Rule(
        cel=f"self.all(key, !{json.dumps(reserved)}.exists(start, key.startsWith(start)))",
        message=f"must not have keys that begin with {', '.join(reserved)}",
        holds=lambda value: not any(key.startswith(reserved) for key in value),
    )


def union(members: Mapping[StrEnum, str]) -> tuple[Rule, ...]:
    """Of a struct with `type` and one struct for each type, only the one of that type may be set."""
    return tuple(_member(kind, member) for kind, member in members.items())


def _member(kind: StrEnum, member: str) -> Rule:
    return Rule(
        cel=f"!has(self.{member}) || self.type == {json.dumps(kind.value)}",
        message=f"is only for type {kind.value}",
        holds=lambda value: getattr(value, member) is None or value.type == kind,
        field=member,
    )


def portable(pattern: str) -> str:
    """`pattern`, if every engine reads it alike. Raises NotPortable.

    Pydantic's engine knows Unicode classes where Kubernetes' RE2 knows ASCII; neither knows look-around.
    """
    if found := re.search(r"\(\?(?!:)|\\[A-Za-wyz0-9]", pattern):
        raise NotPortable(f"{pattern!r} uses {found.group()!r}: spell out the characters instead")
    re.compile(pattern)
    return pattern
