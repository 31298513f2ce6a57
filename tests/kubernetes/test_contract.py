"""The CRD on a real API server: it refuses and accepts what Python does, and fills in what Python does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import ApiServer
from cluster_client import FINETUNE_JOBS, MERGE_PATCH, ApiError, Manifest
from finetune_api.crd import custom_resource_definition, mutability
from finetune_api.mutability import Mutability
from finetune_api.schema import Schema, structural
from finetune_api.spec import Spec
from finetune_api.status import Status
from finetune_operator.cli.manifest import read_manifests, read_text
from jobs import make_body, merge
from scalars import SCALARS
from spec_cases import BAD, GOOD, Case

pytestmark = [pytest.mark.tier("api"), pytest.mark.usefixtures("crd")]

EXAMPLES = sorted((Path(__file__).parents[2] / "crds" / "examples").glob("*.yaml"))
_DRY_RUN = f"{FINETUNE_JOBS.path('default')}?dryRun=All&fieldValidation=Strict"


def _named(name: str, **spec: Any) -> Manifest:
    return {**make_body(name, **spec), "metadata": {"name": name}}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path, api_server: ApiServer) -> None:
    for manifest in read_manifests(path).manifests:
        api_server.client.request("POST", _DRY_RUN, manifest.body)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_applied_again_changes_nothing(path: Path, api_server: ApiServer, namespace: str) -> None:
    (manifest,) = read_manifests(path).manifests
    url = f"{FINETUNE_JOBS.path(namespace, manifest.job.metadata.name)}?fieldManager=gitops&fieldValidation=Strict"
    created, second, third = (
        api_server.client.request("PATCH", url, manifest.body, "application/apply-patch+yaml") for _ in range(3)
    )
    # The first look at a new object stores the default of its status; from then on nothing is written at all.
    assert (second["spec"], second["metadata"]["generation"]) == (created["spec"], 1)
    assert second == third


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.about)
def test_a_right_spec_is_accepted(case: Case, api_server: ApiServer) -> None:
    stored = api_server.client.request("POST", _DRY_RUN, case.manifest)
    assert Spec.parse(stored["spec"]) == Spec.parse(case.body["spec"])


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.about)
def test_a_wrong_spec_is_refused_with_the_field_to_change(case: Case, api_server: ApiServer) -> None:
    with pytest.raises(ApiError) as refused:
        api_server.client.request("POST", _DRY_RUN, case.manifest)
    assert refused.value.status in (400, 422)
    assert case.field in str(refused.value)


def test_defaults_are_those_of_the_models(api_server: ApiServer) -> None:
    manifest = _named("defaults")
    stored = api_server.client.request("POST", _DRY_RUN, manifest)
    assert stored["spec"] == Spec.parse(manifest["spec"]).to_json()
    assert stored["status"] == {"observedGeneration": -1}


_MANIFEST = """\
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata: {{name: {name}}}
spec:
  model: {{uri: s3://models/mistral-7b}}
  task: {{type: Instruction}}
  output: {{uri: s3://models/triage}}
  data:
    sources: [{{uri: s3://raw/tickets.jsonl}}]
{field} {scalar}
"""
# A field of each type: the same scalar is right in one and wrong in another.
_FIELDS = {
    "integer": "  training:\n    epochs:",
    "number": "  training:\n    weightDecay:",
    "boolean": "  suspend:",
    "string": "    split:\n      groupBy:",
    "struct": "  training:",
}


def _created(kubectl_output: str) -> Iterator[Manifest]:
    """kubectl prints one JSON object after the other."""
    decoder = json.JSONDecoder()
    rest = kubectl_output.strip()
    while rest:
        manifest, end = decoder.raw_decode(rest)
        yield manifest
        rest = rest[end:].strip()


def test_scalars_are_read_as_kubectl_reads_them(api_server: ApiServer, tmp_path: Path) -> None:
    texts = {
        f"{kind}-{number}": _MANIFEST.format(name=f"{kind}-{number}", field=field, scalar=scalar)
        for kind, field in _FIELDS.items()
        for number, scalar in enumerate(SCALARS)
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    arguments = ("create", "--dry-run=server", "--validate=strict", "--output=json", f"--filename={tmp_path}")
    stored = {manifest["metadata"]["name"]: manifest for manifest in _created(api_server.kubectl(*arguments).stdout)}
    ours = {name: read_text(text, file=name).manifests for name, text in texts.items()}
    assert {name for name, manifests in ours.items() if manifests} == stored.keys()
    assert {name: manifests[0].job.spec for name, manifests in ours.items() if manifests} == {
        name: Spec.parse(manifest["spec"]) for name, manifest in stored.items()
    }


@pytest.mark.parametrize(
    "field",
    ["  training: null", "  storage:", "  workers: {image: null}", "  podMetadata: {labels: {team: null}}"],
)
def test_null_means_absent(field: str, api_server: ApiServer) -> None:
    text = _MANIFEST.format(name="nulls", field=field, scalar="")
    written = next(iter(yaml.safe_load_all(text)))
    stored = api_server.client.request("POST", _DRY_RUN, written)
    (manifest,) = read_text(text, file="nulls.yaml").manifests
    assert Spec.parse(stored["spec"]) == manifest.job.spec == Spec.parse(_named("nulls")["spec"])


# For each field of the spec, changes to the smallest job: values, and members that come and go.
_CHANGES: Mapping[str, tuple[dict[str, Any], ...]] = {
    "model": ({"uri": "s3://models/another"},),
    "task": ({"instruction": {}}, {"type": "Completion"}),
    "data": ({"split": {"seed": 1}}, {"cacheUri": "s3://cache"}),
    "method": ({"lora": {}}, {"lora": {"rank": 8}}),
    "training": ({"maxSteps": 5}, {"learningRate": 1e-3}),
    "evaluation": ({"everySteps": 5},),
    "workers": ({"nodes": 2}, {"image": "trainer:2"}),
    "deepspeed": ({"zeroStage": 1},),
    "memory": ({"microBatchSize": 2},),
    "checkpoint": ({"keepLast": 3},),
    "output": ({"uri": "s3://models/elsewhere"}, {"ifExists": "Fail"}),
    "storage": ({"secretName": "s3"},),
    "restart": ({"maxRestarts": 1},),
    "deadlines": ({"pendingSeconds": 60},),
    "scheduling": ({"queueName": "gpus"},),
    "podMetadata": ({"labels": {"team": "nlp"}},),
    "tracking": ({"type": "WandB"},),
}
_CHANGE_OF = [(name, change) for name, changes in _CHANGES.items() for change in changes]


class _Job:
    """A stored job, as somebody edits it."""

    def __init__(self, api_server: ApiServer, namespace: str) -> None:
        self._client = api_server.client
        self._namespace = namespace
        self._client.create(FINETUNE_JOBS, merge(_named("edited"), {"metadata": {"namespace": namespace}}))

    def set_status(self, **status: Any) -> None:
        self._client.patch(FINETUNE_JOBS, self._namespace, "edited", {"status": status}, subresource="status")

    def edit(self, **spec: Any) -> str:
        """What the API server says against it; empty when it takes the change, without keeping it."""
        path = f"{FINETUNE_JOBS.path(self._namespace, 'edited')}?dryRun=All"
        try:
            self._client.request("PATCH", path, {"spec": spec}, MERGE_PATCH)
        except ApiError as refused:
            return str(refused)
        return ""

    def keep(self, **spec: Any) -> None:
        self._client.patch(FINETUNE_JOBS, self._namespace, "edited", {"spec": spec})


@pytest.fixture
def job(api_server: ApiServer, namespace: str) -> _Job:
    return _Job(api_server, namespace)


def _suspended(status: str) -> dict[str, Any]:
    since = "2026-11-23T10:00:00Z"
    condition = {"type": "Suspended", "status": status, "reason": "Asked", "message": "", "lastTransitionTime": since}
    return {"conditions": [{**condition, "observedGeneration": 1}]}


_STARTED = {"observedGeneration": 1, "startTime": "2026-11-23T10:00:00Z"}


def test_every_field_has_a_change_to_try() -> None:
    assert {*_CHANGES, "suspend", "cancel"} == {*mutability()}


def test_everything_may_change_before_the_start(job: _Job) -> None:
    job.set_status(observedGeneration=1)
    assert {name: job.edit(**{name: change}) for name, change in _CHANGE_OF} == dict.fromkeys(_CHANGES, "")


def test_control_alone_may_change_while_the_job_runs(job: _Job) -> None:
    job.set_status(**_STARTED, **_suspended("False"))
    for name, change in _CHANGE_OF:
        says = job.edit(**{name: change})
        if mutability()[name] == Mutability.CONTROL:
            assert says == ""
        else:
            assert f"spec.{name}" in says and "is immutable" in says, (name, change)


def test_operational_fields_may_change_once_the_job_is_suspended(job: _Job) -> None:
    job.set_status(**_STARTED, **_suspended("True"))
    for name, change in _CHANGE_OF:
        says = job.edit(**{name: change})
        if mutability()[name] == Mutability.IDENTITY:
            assert f"spec.{name}" in says and "is immutable" in says, (name, change)
        else:
            assert says == ""


def test_a_field_may_not_be_taken_away_while_the_job_runs(job: _Job) -> None:
    job.keep(storage={"secretName": "s3"}, training={"maxSteps": 5})
    job.set_status(**_STARTED)
    assert "spec.storage" in job.edit(storage={"secretName": None})
    assert "spec.training" in job.edit(training={"maxSteps": None})
    assert "spec.training" in job.edit(training=None)
    assert job.edit(method={"type": None}) == "", "what it falls back to is what it was"


def test_suspend_always_changes_and_cancel_only_once(job: _Job) -> None:
    job.set_status(**_STARTED)
    assert job.edit(suspend=True) == ""
    job.keep(suspend=True)
    assert job.edit(suspend=False) == ""
    job.keep(cancel=True)
    says = job.edit(cancel=False)
    assert "spec.cancel" in says and "is immutable" in says
    assert job.edit(suspend=False) == ""


def _filled(schema: Schema) -> Any:
    """A value of the schema with every field in it."""
    if "properties" in schema:
        return {name: _filled(below) for name, below in schema["properties"].items()}
    if schema["type"] == "array":
        return [_filled(schema["items"])]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-11-23T10:00:00Z"
    return {"string": "X", "integer": 1, "number": 0.5, "boolean": True}[schema["type"]]


def test_the_whole_status_is_stored(api_server: ApiServer, job: _Job, namespace: str) -> None:
    status = _filled(structural(Status, authored=False))
    assert Status.parse(status).to_json() == status
    job.set_status(**status)
    stored = api_server.client.get(FINETUNE_JOBS, namespace, "edited")
    assert stored is not None and stored["status"] == status


def test_people_see_where_a_job_stands(api_server: ApiServer, job: _Job, namespace: str) -> None:
    status = _filled(structural(Status, authored=False))
    condition = {**status["conditions"][0], "type": "Succeeded", "reason": "Published", "message": "All is well."}
    job.set_status(**{**status, "phase": "Succeeded", "run": "0f3a", "conditions": [condition]})
    shown = api_server.kubectl(f"--namespace={namespace}", "get", "ftj", "--output=wide").stdout.splitlines()
    assert shown[0].split() == ["NAME", "PHASE", "REASON", "STEP", "OF", "LOSS", "AGE", "RUN", "OUTPUT", "MESSAGE"]
    assert shown[1].split()[:6] == ["edited", "Succeeded", "Published", "1", "1", "0.5"]
    assert shown[1].split()[7:] == ["0f3a", "s3://models/triage", "All", "is", "well."]


def test_jobs_are_selected_by_their_fields(api_server: ApiServer, job: _Job, namespace: str) -> None:
    job.set_status(phase="Failed")
    collection = FINETUNE_JOBS.path(namespace)
    for selector, found in (("status.phase=Failed", 1), ("status.phase=Training", 0), ("spec.suspend=true", 0)):
        assert len(api_server.client.request("GET", f"{collection}?fieldSelector={selector}")["items"]) == found


def test_the_crd_is_small_enough_for_an_annotation(api_server: ApiServer) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
    stored = api_server.client.request("GET", path)
    assert stored["spec"]["versions"] == custom_resource_definition()["spec"]["versions"]
    assert len(json.dumps(stored)) < 200_000
