"""At the edges of every field of the spec, generated from the CRD: the reader of manifests and the API server agree."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import ApiServer
from cluster_client import FINETUNE_JOBS, ApiError, Client, Manifest
from finetune_api.schema import Schema, structural
from finetune_api.spec import Spec
from finetune_operator.cli.manifest import read_text
from jobs import make_body

Place = tuple[str | int, ...]

_WRONG: dict[str, tuple[Any, ...]] = {
    "string": (1, True, {}),
    "boolean": ("true", 1),
    "integer": ("1", 1.5, True, 2**64),
    "number": ("1", True, 1e30),
    "array": ({}, "x", [None], [1]),
    "object": ([], "x", {"unknown": "x"}, {"unknown": None}),
}


def _fields(schema: Schema, place: Place) -> Iterator[tuple[Place, Schema]]:
    yield place, schema
    for name, below in schema.get("properties", {}).items():
        yield from _fields(below, (*place, name))
    if "items" in schema:
        yield from _fields(schema["items"], (*place, 0))
    if "additionalProperties" in schema:
        yield from _fields(schema["additionalProperties"], (*place, "key"))


def _edges(schema: Schema) -> Iterator[Any]:
    yield None
    yield from _WRONG[schema["type"]]
    if "minimum" in schema:
        yield from (schema["minimum"] - 1, schema["minimum"], schema["maximum"], schema["maximum"] + 1)
    if "maxLength" in schema:
        # Both count characters, not bytes.
        yield from ("", "é" * schema["maxLength"], "a" * schema["maxLength"], "a" * (schema["maxLength"] + 1))
    if "maxItems" in schema:
        yield from ([], ["a"] * schema["maxItems"], ["a"] * (schema["maxItems"] + 1))
    if "maxProperties" in schema:
        yield from ({f"key-{number}": "x" for number in range(schema["maxProperties"] + more)} for more in (0, 1))


def _with(place: Place, value: Any) -> Manifest:
    """The smallest manifest with `value` at `place`."""
    manifest = copy.deepcopy({**make_body("edges"), "metadata": {"name": "edges"}})
    if place[:2] == ("task", "completion"):
        manifest["spec"]["task"]["type"] = "Completion"
    holder: Any = manifest["spec"]
    for part, following in itertools.pairwise(place):
        if isinstance(holder, dict):
            holder.setdefault(part, [{}] if following == 0 else {})
        holder = holder[part]
    holder[place[-1]] = value
    return manifest


def _accepted(client: Client, manifest: Manifest) -> Spec | None:
    path = f"{FINETUNE_JOBS.path('default')}?dryRun=All&fieldValidation=Strict"
    try:
        return Spec.parse(client.request("POST", path, manifest)["spec"])
    except ApiError:
        return None


@pytest.mark.tier("api")
@pytest.mark.parametrize("field", Spec.model_fields.values(), ids=lambda field: field.alias)
def test_verdicts_agree(field: Any, api_server: ApiServer, crd: None) -> None:
    schema = structural(Spec, authored=True)["properties"][field.alias]
    for place, below in _fields(schema, (field.alias,)):
        for edge in _edges(below):
            manifest = _with(place, edge)
            read = read_text(json.dumps(manifest), file="edges.yaml")
            ours = read.manifests[0].job.spec if read.manifests else None
            assert ours == _accepted(api_server.client, manifest), (place, edge, read.problems)
