from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_operator.cli.manifest import Problem, Read, read_manifests, read_text
from jobs import make_job
from spec_cases import BAD, GOOD, Case

GOOD_TEXT = """\
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: triage
spec:
  model: {uri: s3://models/mistral-7b}
  task: {type: Instruction}
  data:
    sources:
      - uri: s3://raw/tickets.jsonl
  output: {uri: s3://models/triage}
"""


def _problems(text: str) -> list[str]:
    return [str(problem) for problem in read_text(text, file="job.yaml").problems]


def _with(lines: str) -> list[str]:
    """Problems of the good manifest with more lines below its spec, which begin on line 12."""
    return _problems(GOOD_TEXT + lines)


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.about)
def test_a_right_manifest_is_read(case: Case) -> None:
    (manifest,) = read_text(json.dumps(case.manifest), file="job.yaml").manifests
    assert manifest.body == case.manifest
    assert manifest.job.spec == make_job(case.name, **case.spec).spec


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.about)
def test_a_wrong_manifest_names_the_field_in_our_words(case: Case) -> None:
    read = read_text(json.dumps(case.manifest), file="job.yaml")
    assert read.manifests == ()
    assert any(case.field in problem.field for problem in read.problems)
    assert [p for p in read.problems if "Input should" in p.message or "Extra inputs" in p.message] == []


def test_all_problems_are_told_at_once_each_with_its_line() -> None:
    text = """\
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: Triage
  labels: {team: 1}
spec:
  model: {uri: s3://models//base}
  task: {type: Chat}
  data:
    sources:
      - uri: s3://raw/tickets.jsonl
        format: jsonl
    split: {trainPercent: 50}
  training:
    learningRate: 2
    epocs: 3
    seed: "1"
    epochs: 0
  suspend: 1
  method:
    lora: {targetModules: [], rank: 1.5}
"""
    names = "must be lower-case letters, digits and '-', begin with a letter and not end with '-'"
    tasks = "Instruction, Completion, Classification or Preference"
    uris = "without empty parts, '..', '%', '?', '#' or a slash at the end, nor a '*'"
    assert _problems(text) == [
        f"job.yaml:4: metadata.name: {names}",
        "job.yaml:5: metadata.labels.team: must be text, not the number 1: put it in quotes",
        "job.yaml:6: spec.output: is required",
        f"job.yaml:7: spec.model.uri: must be s3://bucket/prefix, or file:///path with `finetune run`, {uris}",
        f'job.yaml:8: spec.task.type: must be {tasks}, not the text "Chat"',
        "job.yaml:12: spec.data.sources[0].format: is not a field",
        "job.yaml:13: spec.data.split: must have trainPercent, validationPercent and testPercent that add up to 100",
        "job.yaml:15: spec.training.learningRate: must be at most 1",
        "job.yaml:16: spec.training.epocs: is not a field; did you mean epochs?",
        'job.yaml:17: spec.training.seed: must be a whole number, not the text "1"',
        "job.yaml:18: spec.training.epochs: must be at least 1",
        "job.yaml:19: spec.suspend: must be true or false, not the number 1",
        "job.yaml:21: spec.method.lora.rank: must be a whole number, not the number 1.5",
        "job.yaml:21: spec.method.lora.targetModules: must not be empty",
    ]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("  suspend: yes\n  suspend: no\n", "job.yaml:13: spec.suspend: is given twice, first on line 12"),
        ("  trainng: {}\n", "job.yaml:12: spec.trainng: is not a field; did you mean training?"),
        ("  foo: null\n", "job.yaml:12: spec.foo: is not a field"),
        ("specs: {}\n", "job.yaml:12: specs: is not a field; did you mean spec?"),
        ("  training: fast\n", 'job.yaml:12: spec.training: must be a mapping of fields, not the text "fast"'),
        ("  storage: [a]\n", "job.yaml:12: spec.storage: must be a mapping of fields, not a list"),
        ("  podMetadata: {labels: on}\n", "job.yaml:12: spec.podMetadata.labels: must be a mapping, not true"),
        ("  workers: {tolerations: {}}\n", "job.yaml:12: spec.workers.tolerations: must be a list, not a mapping"),
        (
            "  workers: {tolerations: [null]}\n",
            "job.yaml:12: spec.workers.tolerations[0]: must be a mapping of fields, not nothing",
        ),
        (
            "  podMetadata:\n    labels:\n      my/team: a/b\n",
            "job.yaml:14: spec.podMetadata.labels[\"my/team\"]: must be letters, digits, '-', '_' and '.'",
        ),
        ("  training: {learningRate: .inf}\n", "job.yaml:12: spec.training.learningRate: is .inf, which is not a"),
        ("  x: [\n", "job.yaml:13: is not YAML: "),
    ],
)
def test_a_problem_is_told_in_words(lines: str, problem: str) -> None:
    (told,) = _with(lines)
    assert told.startswith(problem)


def test_null_is_absent() -> None:
    (manifest,) = read_text(GOOD_TEXT + "  training: {epochs: ~, maxSteps:}\n  storage:\n", file="a").manifests
    assert manifest.body["spec"]["training"] == {}
    assert manifest.job.spec == make_job().spec


def test_what_kubectl_get_prints_is_read_without_its_status() -> None:
    text = GOOD_TEXT.replace(
        "  name: triage\n", "  name: triage\n  creationTimestamp: null\n  uid: x\n  generation: 3\n"
    )
    (manifest,) = read_text(f"{text}status: {{phase: Failed, odd: 1}}\n", file="a").manifests
    assert manifest.job == make_job(metadata={"namespace": None, "uid": "x", "generation": 3}).model_copy(
        update={"metadata": manifest.job.metadata}
    )
    assert "status" not in manifest.body


def test_other_kinds_are_passed_over() -> None:
    text = f"kind: Secret\napiVersion: v1\ndata: {{a: b}}\n---\n{GOOD_TEXT}---\n{GOOD_TEXT.replace('triage', 'other')}"
    read = read_text(text, file="all.yaml")
    assert ([manifest.job.metadata.name for manifest in read.manifests], read.problems) == (["triage", "other"], ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("kind: FineTuneJob\n", ""), "job.yaml:1: kind: is required: FineTuneJob"),
        (("apiVersion: finetune.dev/v1alpha1\n", ""), "job.yaml:1: apiVersion: is required: finetune.dev/v1alpha1"),
        (("FineTuneJob", "FinetuneJob"), 'job.yaml:2: kind: must be FineTuneJob, not the text "FinetuneJob"'),
        (("v1alpha1", "v1"), 'job.yaml:1: apiVersion: must be finetune.dev/v1alpha1, not the text "finetune.dev/v1"'),
        (("metadata:\n  name: triage\n", ""), "job.yaml:1: metadata: is required"),
        (("  name: triage\n", "  namespace: ml\n"), "job.yaml:3: metadata.name: is required"),
        (
            ("  name: triage\n", "  name: triage\n  nam: x\n"),
            "job.yaml:5: metadata.nam: is not a field; did you mean name?",
        ),
    ],
)
def test_what_a_manifest_is_must_be_said(change: tuple[str, str], told: str) -> None:
    assert _problems(GOOD_TEXT.replace(*change))[0] == told


@pytest.mark.parametrize("text", ["", "# nothing\n", "kind: Secret\napiVersion: v1\n", "just text\n", "[1, 2]\n"])
def test_a_file_without_a_job_is_a_problem(text: str) -> None:
    (told,) = _problems(text)
    assert told == "job.yaml: holds no FineTuneJob: one has `apiVersion: finetune.dev/v1alpha1`"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    absent = tmp_path / "absent.yaml"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert read_manifests(absent) == Read(
        (), (Problem(str(absent), 0, "", "cannot be read: No such file or directory"),)
    )
    assert read_manifests(binary) == Read((), (Problem(str(binary), 0, "", "is not UTF-8 text"),))
    assert "Is a directory" in read_manifests(tmp_path).problems[0].message


def test_a_file_with_a_flaw_yields_no_job() -> None:
    read = read_text(f"{GOOD_TEXT}  suspend: true\n  suspend: false\n", file="job.yaml")
    assert read.manifests == () and len(read.problems) == 1
