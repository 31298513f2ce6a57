"""How every model of the contract behaves: frozen, strict, camelCase on the wire, documented by its docstrings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, ignore_unknown: bool = False) -> Self:
        """Read a JSON-compatible mapping.

        Goes through JSON, because only there strict mode reads a string as an enum and a list as a tuple.
        `ignore_unknown` lets an older reader survive fields of a newer API. Raises pydantic.ValidationError.
        """
        return cls.model_validate_json(json.dumps(body), extra="ignore" if ignore_unknown else None)

    def to_json(self) -> dict[str, Any]:
        """The JSON-compatible mapping that `parse` reads back; absent fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
