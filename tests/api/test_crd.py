from __future__ import annotations

import json
from typing import Any

from finetune_api.crd import custom_resource_definition, mutability
from finetune_api.mutability import Mutability

CRD = custom_resource_definition()
(VERSION,) = CRD["spec"]["versions"]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]["properties"]
STATUS = ROOT["properties"]["status"]


def test_names_are_those_of_the_contract() -> None:
    assert CRD["metadata"] == {"name": "finetunejobs.finetune.dev"}
    assert CRD["spec"]["names"] == {
        "kind": "FineTuneJob",
        "listKind": "FineTuneJobList",
        "plural": "finetunejobs",
        "singular": "finetunejob",
        "shortNames": ["ftj"],
        "categories": ["ai", "finetune"],
    }
    assert (CRD["spec"]["group"], CRD["spec"]["scope"], VERSION["name"]) == ("finetune.dev", "Namespaced", "v1alpha1")


def test_it_fits_an_annotation_of_client_side_apply() -> None:
    assert len(json.dumps(CRD)) < 200_000


def test_a_fresh_object_is_not_taken_for_a_finished_one() -> None:
    assert STATUS["default"] == {"observedGeneration": -1}


def test_a_spec_is_required_and_everything_with_a_default_is_filled_in() -> None:
    assert ROOT["required"] == ["spec"]
    assert ROOT["properties"]["spec"]["required"] == ["data", "model", "output", "task"]
    assert {name: SPEC[name]["default"] for name in SPEC if name not in ("data", "model", "output", "task")} == {
        **{name: {} for name in ("evaluation", "workers", "deepspeed", "memory", "checkpoint", "storage")},
        **{name: {} for name in ("restart", "deadlines", "podMetadata")},
        "training": {
            "epochs": 3,
            "schedule": "Cosine",
            "weightDecay": 0.0,
            "gradientClip": 1.0,
            "sequenceLength": 4096,
            "seed": 0,
        },
        "method": {"type": "LoRA"},
        "tracking": {"type": "None"},
        "scheduling": {},
        "suspend": False,
        "cancel": False,
    }


def test_a_field_reads_as_its_docstring() -> None:
    assert SPEC["data"]["properties"]["maxBadRowPercent"] == {
        "type": "integer",
        "description": (
            "Rejected rows (unparseable or invalid) above this share end the job before training; "
            "fewer than 10 never do."
        ),
        "minimum": 0,
        "maximum": 100,
        "default": 1,
    }


def test_conditions_are_merged_by_type() -> None:
    conditions = STATUS["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_columns_find_a_condition_by_its_type() -> None:
    columns = {column["name"]: column["jsonPath"] for column in VERSION["additionalPrinterColumns"]}
    assert columns["Reason"] == '.status.conditions[?(@.type=="Succeeded")].reason'
    assert [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")] == [
        "Phase",
        "Reason",
        "Step",
        "Of",
        "Loss",
        "Age",
    ]


def test_kubernetes_allows_eight_selectable_fields() -> None:
    assert len(VERSION["selectableFields"]) <= 8
    for field in VERSION["selectableFields"]:
        schema: Any = ROOT
        for part in field["jsonPath"].removeprefix(".").split("."):
            schema = schema["properties"][part]
        assert schema["type"] in ("string", "boolean", "integer")


def test_every_field_has_the_class_of_the_design() -> None:
    fields: dict[Mutability, set[str]] = {kind: set() for kind in Mutability}
    for name, kind in mutability().items():
        fields[kind].add(name)
    assert fields == {
        Mutability.IDENTITY: {"model", "task", "data", "method", "training", "output"},
        Mutability.OPERATIONAL: {
            "evaluation",
            "workers",
            "deepspeed",
            "memory",
            "checkpoint",
            "storage",
            "restart",
            "scheduling",
            "podMetadata",
            "tracking",
        },
        Mutability.CONTROL: {"deadlines", "suspend"},
        Mutability.LATCH: {"cancel"},
    }


def test_whoever_applies_with_flux_may_recreate_what_is_immutable() -> None:
    rules = ROOT["x-kubernetes-validations"]
    assert [rule["fieldPath"] for rule in rules] == [
        f".spec.{name}" for name, kind in mutability().items() if kind != Mutability.CONTROL
    ]
    assert all("is immutable" in rule["message"] for rule in rules)
