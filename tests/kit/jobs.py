"""Builders of FineTuneJobs: the smallest valid one, with overrides that name only what a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune_api.contract import API_VERSION, KIND
from finetune_api.job import FineTuneJob
from finetune_api.status import Status

UID = "5f0c1d2e-8a3b-4c6d-9e7f-0123456789ab"


def make_body(
    name: str = "triage",
    *,
    metadata: Mapping[str, Any] | None = None,
    status: Status | Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A FineTuneJob as the API server stores it.

    Keywords are fields of the spec, spelt as on the wire, and merged into the smallest valid one: mappings
    field by field, everything else whole, and None takes a field away.

        make_body(workers={"nodes": 2}, data={"split": {"seed": 7}}, suspend=True)
    """
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-23T09:00:00Z",
        },
        "spec": {
            "model": {"uri": "s3://models/mistral-7b"},
            "task": {"type": "Instruction"},
            "data": {"sources": [{"uri": "s3://raw/tickets.jsonl"}]},
            "output": {"uri": "s3://models/triage"},
        },
    }
    overrides: dict[str, Any] = {"metadata": metadata or {}, "spec": spec}
    if status is not None:
        overrides["status"] = status.to_json() if isinstance(status, Status) else status
    return merge(body, overrides)


def make_job(
    name: str = "triage",
    *,
    metadata: Mapping[str, Any] | None = None,
    status: Status | Mapping[str, Any] | None = None,
    **spec: Any,
) -> FineTuneJob:
    """`make_body`, as the operator sees it.

    make_job(deadlines={"pendingSeconds": 60}, status=Status(phase=Phase.TRAINING))
    """
    return FineTuneJob.observed(make_body(name, metadata=metadata, status=status, **spec))


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` laid over it, field by field; None takes a field away. Neither is changed."""
    merged = dict(base)
    for key, value in overrides.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
