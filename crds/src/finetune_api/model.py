"""How every model of the contract behaves: frozen, strict, camelCase on the wire, documented by its docstrings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails

from finetune_api.rules import Rule, with_rules


class Model(BaseModel):
    """Frozen value of the contract. Field docstrings become the descriptions in the CRD."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields."""

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = [rule for rule in self.rules if not rule.holds(self)]
        if broken:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [InitErrorDetails(type=rule.error(), loc=_location(rule), input=self) for rule in broken],
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return with_rules(handler.resolve_ref_schema(handler(schema)), cls.rules)

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, ignore_unknown: bool = False) -> Self:
        """Read a JSON-compatible mapping.

        Goes through JSON, because only there strict mode reads a string as an enum and a list as a tuple.
        Fields are known by their wire names alone, as to the API server.
        `ignore_unknown` lets an older reader survive fields of a newer API. Raises pydantic.ValidationError.
        """
        return cls.model_validate_json(
            json.dumps(body), extra="ignore" if ignore_unknown else None, by_alias=True, by_name=False
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON-compatible mapping that `parse` reads back; absent fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def merged_by(*keys: str) -> dict[str, Any]:
    """`json_schema_extra` of a list of structs that server-side apply merges by these fields of its items."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def _location(rule: Rule) -> tuple[str | int, ...]:
    return tuple(rule.field.split(".")) if rule.field else ()
