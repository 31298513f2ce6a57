"""Pure: the CRD to crds/README.md, the reference of every field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finetune_api.contract import API_VERSION, KIND, VERSION
from finetune_api.mutability import Mutability
from finetune_api.rules import CEL_KEY
from finetune_api.schema import Schema

_HEAD = f"""# {KIND}, `{API_VERSION}`

Every field of the API. Generated from `crds/src/finetune_api` by `python -m finetune_api`; `examples/` shows it in use.

*May change* says when the API server lets a field of the spec change. Absent fields without a default are chosen by
the operator, which says so in `status.resolved`.
"""


def field_reference(crd: Mapping[str, Any], mutability: Mapping[str, Mutability]) -> str:
    """Markdown: one section for each object, one row for each field, and the rules between them."""
    version = next(version for version in crd["spec"]["versions"] if version["name"] == VERSION)
    root = version["schema"]["openAPIV3Schema"]["properties"]
    lines = [*_HEAD.splitlines(), "", *_spec(root["spec"], mutability)]
    lines += [*_section("status", _without_rules(root["status"]), level=2)]
    return "\n".join(lines).rstrip() + "\n"


def _spec(schema: Schema, mutability: Mapping[str, Mutability]) -> Iterator[str]:
    yield from ("## spec", "", schema["description"], "", "| Field | Default | May change | |", "|---|---|---|---|")
    for name, below in schema["properties"].items():
        default = _default(below, required=name in schema["required"])
        label = f"[`{name}`](#spec{name.lower()})" if "properties" in below else f"`{name}`"
        yield f"| {label} | {default} | {mutability[name].value} | {below['description']} |"
    yield ""
    for name, below in schema["properties"].items():
        yield from _section(f"spec.{name}", below, level=3)


def _section(path: str, schema: Schema, *, level: int) -> Iterator[str]:
    """The table of an object's fields, and below it those of the objects in it."""
    if "properties" not in schema:
        return
    yield from (f"{'#' * level} {path}", "", schema["description"], "")
    yield from ("| Field | Type | Default | Bounds | |", "|---|---|---|---|---|")
    for name, below in schema["properties"].items():
        default = _default(below, required=name in schema.get("required", ()))
        yield f"| `{name}` | {_type(below)} | {default} | {_bounds(below)} | {below.get('description', '')} |"
    yield ""
    rules = [*_rules(path, schema)]
    yield from [*rules, ""] if rules else ()
    for name, below in schema["properties"].items():
        suffix, inner = ("[]", below["items"]) if below["type"] == "array" else ("", below)
        yield from _section(f"{path}.{name}{suffix}", inner, level=min(level + 1, 5))


def _rules(path: str, schema: Schema) -> Iterator[str]:
    for rule in schema.get(CEL_KEY, ()):
        yield f"- `{path}{rule.get('fieldPath', '')}` {rule['message']}."


def _without_rules(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != CEL_KEY}


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema.get("format", schema["type"]))


def _default(schema: Schema, *, required: bool) -> str:
    if required:
        return "**required**"
    if "default" not in schema or "properties" in schema:
        return ""
    default = schema["default"]
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _bounds(schema: Schema) -> str:
    parts = []
    if "minimum" in schema or "maximum" in schema:
        above = "> " if schema.get("exclusiveMinimum") else ""
        below = "< " if schema.get("exclusiveMaximum") else ""
        parts.append(f"{above}{schema['minimum']} … {below}{schema['maximum']}")
    for low, high, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "keys"),
    ):
        if high in schema:
            parts.append(f"{schema[low]} … {schema[high]} {unit}" if low in schema else f"≤ {schema[high]} {unit}")
    inner = schema.get("items") or schema.get("additionalProperties")
    if inner and (bounds := _bounds(inner)):
        parts.append(f"each {bounds}")
    parts += [rule["message"].replace("|", "\\|") for rule in schema.get(CEL_KEY, ()) if "properties" not in schema]
    return "; ".join(parts)
