"""Pure: a pydantic model to the structural OpenAPI v3 schema of a CRD, refusing what Kubernetes cannot express."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from finetune_api.rules import CEL_KEY, NotPortable, portable

Schema = dict[str, Any]

_ANYWHERE = frozenset({"title", "description", "default", "type", CEL_KEY})
_KEYWORDS = {
    "object": _ANYWHERE | {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
    "array": _ANYWHERE
    | {"items", "minItems", "maxItems", "uniqueItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"},
    "string": _ANYWHERE | {"enum", "minLength", "maxLength", "pattern", "format"},
    "integer": _ANYWHERE | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "number": _ANYWHERE | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": _ANYWHERE,
}


class NotExpressible(ValueError):
    """A model that no structural schema describes; says where, and what to do instead."""


def structural(model: type[BaseModel], *, authored: bool) -> Schema:
    """The schema of `model`.

    `authored` for what people write: every value must be bounded, for CEL's cost is estimated from the bounds, and
    defaults are kept, for the API server to fill in. What the operator writes has neither.
    Raises NotExpressible.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    return _Converter(document.pop("$defs", {}), authored).convert(document, _Place(model.__name__))


@dataclass(frozen=True)
class _Place:
    """Where in the model we are: for messages, and for what depends on what lies above."""

    path: str
    models: tuple[str, ...] = ()
    in_list: bool = False

    def refuse(self, reason: str) -> NotExpressible:
        return NotExpressible(f"{self.path}: {reason}")


@dataclass(frozen=True)
class _Converter:
    definitions: Mapping[str, Schema]
    authored: bool

    def convert(self, node: Schema, place: _Place) -> Schema:
        if "anyOf" in node:
            return self.convert(_without_null(node, place), place)
        if "$ref" in node:
            return self._inline(node, place)
        if "const" in node:
            return self.convert({**_without(node, "const"), "enum": [node["const"]]}, place)
        kind = node.get("type")
        if not isinstance(kind, str) or kind not in _KEYWORDS:
            raise place.refuse(f"a value of any type ({', '.join(sorted(node)) or 'no keyword'}): give it one type")
        if foreign := sorted(node.keys() - _KEYWORDS[kind]):
            raise place.refuse(f"{foreign[0]} on type {kind} has no counterpart in a structural schema")
        schema: Schema = {"type": kind}
        for key in ("description", "enum", "minProperties", "maxProperties", "minItems", "maxItems"):
            if key in node:
                schema[key] = node[key]
        if kind == "object":
            schema |= self._object(node, place)
        elif kind == "array":
            schema |= self._array(node, place)
        elif kind == "string":
            schema |= self._string(node, place)
        elif kind != "boolean":
            schema |= self._number(node, place)
        if CEL_KEY in node:
            schema[CEL_KEY] = node[CEL_KEY]
        return self._with_default(schema, node, place)

    def _inline(self, node: Schema, place: _Place) -> Schema:
        name = node["$ref"].removeprefix("#/$defs/")
        if name in place.models:
            raise place.refuse(f"{name} contains itself: a structural schema has no references")
        target = self.definitions[name]
        docs = [target.get("description", ""), node.get("description", "")]
        if "enum" in target and docs[1]:
            docs = docs[1:]
        described = {"description": " ".join(doc for doc in docs if doc)} if any(docs) else {}
        below = _Place(place.path, (*place.models, name), place.in_list)
        return self.convert({**target, **_without(node, "$ref"), **described}, below)

    def _object(self, node: Schema, place: _Place) -> Schema:
        values = node.get("additionalProperties", False)
        properties = node.get("properties", {})
        if properties and values:
            raise place.refuse("fields beside free keys: give the keys a map of their own")
        if isinstance(values, dict):
            if self.authored and "maxProperties" not in node:
                raise place.refuse("a map needs a max_length")
            below = _Place(f"{place.path}.*", place.models, in_list=True)
            return {"additionalProperties": self.convert(values, below)}
        if not properties:
            raise place.refuse("an object needs fields, or a map of strings")
        schema: Schema = {}
        if required := node.get("required"):
            schema["required"] = sorted(required)
        schema["properties"] = {
            name: self.convert(below, _Place(f"{place.path}.{name}", place.models, place.in_list))
            for name, below in properties.items()
        }
        return schema

    def _array(self, node: Schema, place: _Place) -> Schema:
        if "items" not in node:
            raise place.refuse("a list needs one type of item")
        if self.authored and "maxItems" not in node:
            raise place.refuse("a list needs a max_length")
        kind = node.get("x-kubernetes-list-type", "set" if node.get("uniqueItems") else "atomic")
        schema = {"x-kubernetes-list-type": kind}
        if keys := node.get("x-kubernetes-list-map-keys"):
            schema["x-kubernetes-list-map-keys"] = keys
        below = _Place(f"{place.path}[]", place.models, in_list=True)
        return {**schema, "items": self.convert(node["items"], below)}

    def _string(self, node: Schema, place: _Place) -> Schema:
        if node.get("format") not in (None, "date-time"):
            raise place.refuse(f"format {node['format']} is unknown to the API server: write a rule")
        if self.authored and not node.keys() & {"maxLength", "enum", "format"}:
            raise place.refuse("a string needs a max_length")
        if "pattern" in node:
            try:
                portable(node["pattern"])
            except NotPortable as error:
                raise place.refuse(str(error)) from None
        return {key: node[key] for key in ("format", "minLength", "maxLength", "pattern") if key in node}

    def _number(self, node: Schema, place: _Place) -> Schema:
        schema: Schema = {key: node[key] for key in ("minimum", "maximum", "multipleOf") if key in node}
        # OpenAPI 3.0 marks the bound as exclusive where JSON Schema has a keyword of its own.
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if exclusive in node:
                schema |= {bound: node[exclusive], exclusive: True}
        # The API server cuts the bound's fraction off when the value is a whole number: 0 would pass a minimum of 0.1.
        if schema.get("minimum", 0) > 0 and schema["minimum"] % 1:
            raise place.refuse(f"a minimum of {schema['minimum']} lets 0 pass: use gt=0, or a whole number")
        if self.authored and not {"minimum", "maximum"} <= schema.keys():
            raise place.refuse("a number needs a ge or gt, and a le or lt")
        return schema

    def _with_default(self, schema: Schema, node: Schema, place: _Place) -> Schema:
        default = node.get("default")
        if default is None or not self.authored:
            return schema
        if place.in_list:
            raise place.refuse("a default within a list shows up as a difference for ever in Argo CD: leave it absent")
        if "properties" not in schema:
            return {**schema, "default": default}
        filled = _filled(schema)
        if _present(default) != filled:
            raise place.refuse("its default is not made of its fields' own defaults")
        # Below {} the defaults of the fields apply; but rules are checked against a default as it is written.
        return {**schema, "default": filled if CEL_KEY in schema else {}}


def _without(node: Schema, *keys: str) -> Schema:
    return {key: value for key, value in node.items() if key not in keys}


def _without_null(node: Schema, place: _Place) -> Schema:
    """`X | None`, where absent and null are the same, as X."""
    kinds = [kind for kind in node["anyOf"] if kind != {"type": "null"}]
    if len(kinds) != 1 or len(node["anyOf"]) != 2:
        raise place.refuse("a union: write a struct with `type` and one optional member for each type")
    if "default" not in node:
        raise place.refuse("null as a value: make the field optional with None as its default")
    return {**kinds[0], **_without(node, "anyOf")}


def _filled(schema: Schema) -> Schema:
    """What the API server makes of `{}`."""
    return {
        name: _filled(below) if "properties" in below else below["default"]
        for name, below in schema["properties"].items()
        if "default" in below
    }


def _present(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _present(below) for name, below in value.items() if below is not None}
