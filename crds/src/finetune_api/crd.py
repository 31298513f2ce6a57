"""The CustomResourceDefinition of FineTuneJob: names, columns, selectable fields and rules around the schemas."""

from __future__ import annotations

from typing import Any

from finetune_api.contract import GROUP, KIND, PLURAL, VERSION
from finetune_api.job import Metadata
from finetune_api.mutability import Mutability, transition_rules
from finetune_api.rules import CEL_KEY
from finetune_api.schema import NotExpressible, Schema, structural
from finetune_api.spec import Spec
from finetune_api.status import Status

CRD_NAME = f"{PLURAL}.{GROUP}"

_SUCCEEDED = '.status.conditions[?(@.type=="Succeeded")]'
_COLUMNS = (
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Reason", "type": "string", "jsonPath": f"{_SUCCEEDED}.reason"},
    {"name": "Step", "type": "integer", "jsonPath": ".status.progress.step"},
    {"name": "Of", "type": "integer", "jsonPath": ".status.resolved.totalSteps"},
    {"name": "Loss", "type": "number", "jsonPath": ".status.progress.loss"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Run", "type": "string", "jsonPath": ".status.run", "priority": 1},
    {"name": "Output", "type": "string", "jsonPath": ".spec.output.uri", "priority": 1},
    {"name": "Message", "type": "string", "jsonPath": f"{_SUCCEEDED}.message", "priority": 1},
)
# Kubernetes allows eight, of single values only.
_SELECTABLE = (
    ".spec.model.uri",
    ".spec.output.uri",
    ".spec.scheduling.queueName",
    ".spec.suspend",
    ".status.phase",
    ".status.run",
)


def mutability() -> dict[str, Mutability]:
    """When each field of the spec may change, by wire name. Raises NotExpressible."""
    classes = {}
    for name, field in Spec.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Mutability)]
        if len(marks) != 1:
            raise NotExpressible(f"Spec.{name}: needs one Mutability")
        if not field.is_required() and field.default is None:
            raise NotExpressible(f"Spec.{name}: may be absent, and CEL compares what is there: give it a default")
        classes[field.alias or name] = marks[0]
    return classes


def custom_resource_definition() -> dict[str, Any]:
    """The whole object, as `kubectl apply` takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["ftj"],
                "categories": ["ai", "finetune"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [dict(column) for column in _COLUMNS],
                    "selectableFields": [{"jsonPath": path} for path in _SELECTABLE],
                    "schema": {"openAPIV3Schema": _object_schema()},
                }
            ],
        },
    }


def _object_schema() -> Schema:
    metadata = structural(Metadata, authored=False)
    return {
        "type": "object",
        "description": "Fine-tunes a Mistral model on raw data and publishes it with its reports.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # Of the metadata, a CRD may speak of the name alone.
            "metadata": {"type": "object", "properties": {"name": metadata["properties"]["name"]}},
            "spec": structural(Spec, authored=True),
            # kstatus takes an object without an observed generation for one that is ready: flux2#4346.
            "status": {**structural(Status, authored=False), "default": {"observedGeneration": -1}},
        },
        CEL_KEY: transition_rules(mutability()),
    }
