"""file:// is refused where pods share no files."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_operator.decide.uris import local_uri
from jobs import make_job

LOCAL = "file:///home/me/x"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"model": {"uri": LOCAL}}, "spec.model.uri"),
        ({"data": {"sources": [{"uri": "s3://raw/a"}, {"uri": LOCAL}]}}, "spec.data.sources[1].uri"),
        (
            {"data": {"decontamination": {"benchmarks": [{"uri": LOCAL}]}}},
            "spec.data.decontamination.benchmarks[0].uri",
        ),
        ({"data": {"split": {"previousUri": LOCAL}}}, "spec.data.split.previousUri"),
        ({"data": {"cacheUri": LOCAL}}, "spec.data.cacheUri"),
        ({"output": {"uri": LOCAL}}, "spec.output.uri"),
    ],
)
def test_the_field_is_named(spec: dict[str, Any], field: str) -> None:
    failure = local_uri(make_job(**spec).spec)
    assert failure is not None
    assert failure.field == field
    assert (
        failure.message
        == f"{field}: pods on a cluster share no files; use s3://, or run it on one machine with `finetune run`"
    )


@pytest.mark.parametrize("uri", ["s3://raw/*.jsonl", "hf://datasets/owner/name/*.jsonl"])
def test_s3_and_the_hub_are_for_everybody(uri: str) -> None:
    assert local_uri(make_job(data={"sources": [{"uri": uri}]}).spec) is None
