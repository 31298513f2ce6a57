from __future__ import annotations

from collections.abc import Iterator

from finetune_api.crd import custom_resource_definition, mutability
from finetune_api.reference import field_reference
from finetune_api.schema import Schema

CRD = custom_resource_definition()
TEXT = field_reference(CRD, mutability())
LINES = TEXT.splitlines()


def _objects(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    if "items" in schema:
        yield from _objects(f"{path}[]", schema["items"])
    if "properties" in schema:
        yield path, schema
        for name, below in schema["properties"].items():
            yield from _objects(f"{path}.{name}", below)


def test_every_object_has_a_section_and_every_field_a_row() -> None:
    root = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    sections = {line.lstrip("# "): index for index, line in enumerate(LINES) if line.startswith("##")}
    for path, schema in (*_objects("spec", root["spec"]), *_objects("status", root["status"])):
        rows = [line for line in LINES[sections[path] : sections[path] + 10 + len(schema["properties"])] if "|" in line]
        for name in schema["properties"]:
            assert any(f"`{name}`" in row for row in rows), f"{path}.{name}"


def test_a_row_says_type_default_bounds_and_meaning() -> None:
    row = "| `trainPercent` | integer | `80` | 1 … 100 | Share of rows to train on. |"
    assert row in LINES
    assert (
        "| `sources` | list of object | **required** | 1 … 64 items | Where the raw rows lie; read in sorted order. |"
        in LINES
    )


def test_the_spec_says_when_a_field_may_change() -> None:
    assert "| [`task`](#spectask) | **required** | until the job starts | What the model is to learn. |" in LINES
    (suspend,) = [line for line in LINES if line.startswith("| `suspend` |")]
    assert "| always |" in suspend


def test_rules_between_fields_are_told_below_their_table() -> None:
    assert "- `spec.task.completion` is only for type Completion." in LINES


def test_every_row_has_the_columns_of_its_table() -> None:
    width = 0
    for line in LINES:
        cells = line.replace("\\|", "").count("|")
        width = cells if cells and (not width or line.startswith("| Field")) else width if cells else 0
        assert cells in (0, width), line
