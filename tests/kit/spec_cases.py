"""Specs that are right and specs that are wrong, in one table: Python and the API server must agree on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs import make_body, merge


@dataclass(frozen=True)
class Case:
    """A change to the smallest valid spec."""

    about: str
    spec: dict[str, Any]
    field: str = ""
    """What a refusal names; empty where the spec is valid."""
    name: str = "triage"

    @property
    def body(self) -> dict[str, Any]:
        return make_body(self.name, **self.spec)

    @property
    def manifest(self) -> dict[str, Any]:
        """As a person writes it: nothing that only the API server sets."""
        return {**self.body, "metadata": {"name": self.name}}


def _toleration(**fields: Any) -> dict[str, Any]:
    return {"workers": {"tolerations": [fields]}}


def _sources(*uris: str) -> dict[str, Any]:
    return {"data": {"sources": [{"uri": uri} for uri in uris]}}


def _labels(**labels: Any) -> dict[str, Any]:
    return {"podMetadata": {"labels": labels}}


_LONG = "a" * 2000

_TYPES = (
    Case("a number in quotes", {"training": {"epochs": "3"}}, "spec.training.epochs"),
    Case("half an epoch", {"training": {"epochs": 1.5}}, "spec.training.epochs"),
    Case("a boolean for a number", {"training": {"seed": True}}, "spec.training.seed"),
    Case("a number for text", {"workers": {"resources": {"cpu": 4}}}, "spec.workers.resources.cpu"),
    Case("a number for a boolean", {"suspend": 1}, "spec.suspend"),
    Case("text for a boolean", {"cancel": "true"}, "spec.cancel"),
    Case("text for a rate", {"training": {"learningRate": "2e-4"}}, "spec.training.learningRate"),
    Case("text for a struct", {"storage": "s3-credentials"}, "spec.storage"),
    Case("a struct for a list", {"data": {"sources": {"uri": "s3://raw/a"}}}, "spec.data.sources"),
    Case("text for a list item", {"data": {"sources": ["s3://raw/a"]}}, "spec.data.sources[0]"),
    Case("a list for a map", {"podMetadata": {"labels": ["team"]}}, "spec.podMetadata.labels"),
    Case("a number for a label", _labels(team=1), "spec.podMetadata.labels.team"),
    Case("null in a list", {"workers": {"tolerations": [None]}}, "spec.workers.tolerations[0]"),
)
_PRESENCE = (
    Case("no model", {"model": None}, "spec.model"),
    Case("no task", {"task": None}, "spec.task"),
    Case("no data", {"data": None}, "spec.data"),
    Case("no output", {"output": None}, "spec.output"),
    Case("no model uri", {"model": {"uri": None}}, "spec.model.uri"),
    Case("no task type", {"task": {"type": None}}, "spec.task.type"),
    Case("no sources", {"data": {"sources": None}}, "spec.data.sources"),
    Case("an empty list of sources", {"data": {"sources": []}}, "spec.data.sources"),
    Case("a source without uri", {"data": {"sources": [{}]}}, "spec.data.sources[0].uri"),
    Case("an unknown field of the spec", {"gpus": 8}, "spec.gpus"),
    Case("an unknown nested field", {"training": {"lr": 0.1}}, "spec.training.lr"),
    Case("an unknown field in a list", {"data": {"sources": [{"uri": "s3://raw/a", "format": "x"}]}}, "format"),
    Case("a field in the case of Python", {"training": {"max_steps": 5}}, "spec.training.max_steps"),
    Case("a field in another case", {"training": {"maxsteps": 5}}, "spec.training.maxsteps"),
)
_BOUNDS = (
    Case("no epoch", {"training": {"epochs": 0}}, "spec.training.epochs"),
    Case("too many epochs", {"training": {"epochs": 1001}}, "spec.training.epochs"),
    Case("a number that no integer holds", {"training": {"epochs": 10**19}}, "spec.training.epochs"),
    Case("no step", {"training": {"maxSteps": 0}}, "spec.training.maxSteps"),
    Case("a learning rate of zero", {"training": {"learningRate": 0}}, "spec.training.learningRate"),
    Case("a learning rate above one", {"training": {"learningRate": 2}}, "spec.training.learningRate"),
    Case("a negative weight decay", {"training": {"weightDecay": -0.1}}, "spec.training.weightDecay"),
    Case("a row of a few tokens", {"training": {"sequenceLength": 8}}, "spec.training.sequenceLength"),
    Case("a negative seed", {"training": {"seed": -1}}, "spec.training.seed"),
    Case("a seed past 31 bits", {"data": {"split": {"seed": 2**31}}}, "spec.data.split.seed"),
    Case("dropout of most", {"method": {"lora": {"dropout": 0.9}}}, "spec.method.lora.dropout"),
    Case("rank zero", {"method": {"lora": {"rank": 0}}}, "spec.method.lora.rank"),
    Case("no target modules", {"method": {"lora": {"targetModules": []}}}, "spec.method.lora.targetModules"),
    Case("a module without name", {"method": {"lora": {"targetModules": [""]}}}, "spec.method.lora.targetModules[0]"),
    Case("no node", {"workers": {"nodes": 0}}, "spec.workers.nodes"),
    Case("too many nodes", {"workers": {"nodes": 65}}, "spec.workers.nodes"),
    Case("more GPUs than a node has", {"workers": {"gpusPerNode": 17}}, "spec.workers.gpusPerNode"),
    Case("ZeRO 0", {"deepspeed": {"zeroStage": 0}}, "spec.deepspeed.zeroStage"),
    Case("no rows in a forward pass", {"memory": {"microBatchSize": 0}}, "spec.memory.microBatchSize"),
    Case("no checkpoint kept", {"checkpoint": {"keepLast": 0}}, "spec.checkpoint.keepLast"),
    Case("a window too short", {"restart": {"windowSeconds": 59}}, "spec.restart.windowSeconds"),
    Case("no time to start", {"deadlines": {"startSeconds": 0}}, "spec.deadlines.startSeconds"),
    Case("a bad row percentage past 100", {"data": {"maxBadRowPercent": 101}}, "spec.data.maxBadRowPercent"),
    Case("no row to train on", {"data": {"minTrainRows": 0}}, "spec.data.minTrainRows"),
    Case("an empty field name", {"data": {"split": {"groupBy": ""}}}, "spec.data.split.groupBy"),
    Case("a long field name", {"data": {"split": {"groupBy": "a" * 129}}}, "spec.data.split.groupBy"),
    Case("a long uri", {"output": {"uri": f"s3://models/{_LONG}"}}, "spec.output.uri"),
    Case("too many sources", _sources(*(f"s3://raw/{number}" for number in range(65))), "spec.data.sources"),
    Case("too many labels", _labels(**{f"k{number}": "v" for number in range(33)}), "spec.podMetadata.labels"),
    Case("a long annotation", {"podMetadata": {"annotations": {"a": _LONG}}}, "spec.podMetadata.annotations.a"),
)
_CHOICES = (
    Case("an unknown task", {"task": {"type": "Chat"}}, "spec.task.type"),
    Case("a task in lower case", {"task": {"type": "instruction"}}, "spec.task.type"),
    Case("an unknown method", {"method": {"type": "Prefix"}}, "spec.method.type"),
    Case("an unknown schedule", {"training": {"schedule": "Step"}}, "spec.training.schedule"),
    Case("an unknown precision", {"training": {"precision": "Float16"}}, "spec.training.precision"),
    Case("an unknown way with what exists", {"output": {"ifExists": "Overwrite"}}, "spec.output.ifExists"),
    Case("an unknown deduplication", {"data": {"deduplication": "Fuzzy"}}, "spec.data.deduplication"),
    Case("an unknown assignment", {"data": {"split": {"assignment": "Random"}}}, "spec.data.split.assignment"),
    Case(
        "a source that is for training",
        {"data": {"sources": [{"uri": "s3://raw/a.jsonl", "split": "Train"}]}},
        "spec.data.sources[0].split",
    ),
    Case(
        "a benchmark without a uri",
        {"data": {"decontamination": {"benchmarks": [{}]}}},
        "spec.data.decontamination.benchmarks[0].uri",
    ),
    Case("an unknown taint effect", _toleration(key="a", effect="Never"), "spec.workers.tolerations[0].effect"),
)
_RULES = (
    Case("a member of another type", {"task": {"completion": {}}}, "spec.task.completion"),
    Case(
        "weights in 4 bits, divided",
        {"method": {"type": "QLoRA"}, "deepspeed": {"zeroStage": 3}},
        "spec.deepspeed.zeroStage",
    ),
    Case(
        "preferences without a reference",
        {"task": {"type": "Preference"}, "method": {"type": "Full"}},
        "spec.method.type",
    ),
    Case(
        "a delimiter of labels where a row has one",
        {"task": {"type": "Classification", "classification": {"labelDelimiter": ";"}}},
        "spec.task.classification.labelDelimiter",
    ),
    Case(
        "a single label",
        {"task": {"type": "Classification", "classification": {"labels": ["bug"]}}},
        "spec.task.classification.labels",
    ),
    Case(
        "an empty name of a label in a mapping",
        {"task": {"type": "Classification", "classification": {"labelMapping": {"": "bug"}}}},
        "spec.task.classification.labelMapping",
    ),
    Case(
        "a member of another type beside the right one",
        {"task": {"type": "Completion", "completion": {}, "instruction": {}}},
        "spec.task.instruction",
    ),
    Case(
        "a prompt without answer",
        {"task": {"instruction": {"promptField": "q"}}},
        "spec.task.instruction.completionField",
    ),
    Case(
        "an answer without prompt",
        {"task": {"instruction": {"completionField": "a"}}},
        "spec.task.instruction.promptField",
    ),
    Case(
        "what a prompt is about without prompt",
        {"task": {"instruction": {"inputField": "i"}}},
        "spec.task.instruction.inputField",
    ),
    Case(
        "two shapes of a row",
        {"task": {"instruction": {"messagesField": "m", "promptField": "q", "completionField": "a"}}},
        "spec.task.instruction.messagesField",
    ),
    Case("percentages of 99", {"data": {"split": {"testPercent": 9}}}, "spec.data.split"),
    Case("percentages of 110", {"data": {"split": {"trainPercent": 90}}}, "spec.data.split"),
    Case("more warm-up than steps", {"training": {"maxSteps": 10, "warmupSteps": 11}}, "spec.training.warmupSteps"),
    Case(
        "accuracy of what has no labels",
        {"training": {"earlyStopping": {"metric": "Accuracy"}}},
        "spec.training.earlyStopping.metric",
    ),
    Case("no patience", {"training": {"earlyStopping": {"patience": 0}}}, "spec.training.earlyStopping.patience"),
    Case("a priority without queue", {"scheduling": {"priorityClass": "high"}}, "spec.scheduling.priorityClass"),
    Case("a toleration of nothing", _toleration(), "spec.workers.tolerations[0].key"),
    Case("equal to what", _toleration(operator="Equal", value="x"), "spec.workers.tolerations[0].key"),
    Case(
        "exists with a value",
        _toleration(key="gpu", operator="Exists", value="x"),
        "spec.workers.tolerations[0].value",
    ),
    Case(
        "seconds of a taint that evicts nobody",
        _toleration(key="gpu", operator="Exists", effect="NoSchedule", tolerationSeconds=5),
        "spec.workers.tolerations[0].tolerationSeconds",
    ),
)
_STRINGS = (
    Case("a name in capitals", {}, "metadata.name", name="Triage"),
    Case("a name that starts with a digit", {}, "metadata.name", name="7b-triage"),
    Case("a name with a dot", {}, "metadata.name", name="triage.v2"),
    Case("a name of 41 characters", {}, "metadata.name", name="a" * 41),
    Case("a Secret of another namespace", {"storage": {"secretName": "other/secret"}}, "spec.storage.secretName"),
    Case("a Secret name with an empty part", {"storage": {"secretName": "a..b"}}, "spec.storage.secretName"),
    Case("a queue name in capitals", {"scheduling": {"queueName": "GPUs"}}, "spec.scheduling.queueName"),
    Case("a queue name past a label", {"scheduling": {"queueName": "q" * 64}}, "spec.scheduling.queueName"),
    Case("an empty account", {"workers": {"serviceAccountName": ""}}, "spec.workers.serviceAccountName"),
    Case("memory without unit", {"workers": {"resources": {"memory": "64"}}}, "spec.workers.resources.memory"),
    Case("memory in letters", {"workers": {"resources": {"memory": "64GB"}}}, "spec.workers.resources.memory"),
    Case(
        "a class by its provisioner",
        {"workers": {"resources": {"scratchStorageClass": "ebs.csi/fast"}}},
        "spec.workers.resources.scratchStorageClass",
    ),
    Case("no cores", {"workers": {"resources": {"cpu": "0"}}}, "spec.workers.resources.cpu"),
    Case("an image with a blank", {"workers": {"image": "trainer :1.0"}}, "spec.workers.image"),
    Case("a digest cut short", {"workers": {"image": "trainer@sha256:abc"}}, "spec.workers.image"),
    Case("an endpoint without scheme", {"storage": {"endpoint": "minio:9000"}}, "spec.storage.endpoint"),
    Case("an endpoint with a password", {"storage": {"endpoint": "http://me:pw@minio"}}, "spec.storage.endpoint"),
    Case("an endpoint with a query", {"storage": {"endpoint": "http://minio/?a=b"}}, "spec.storage.endpoint"),
    Case("an endpoint on port 0", {"storage": {"endpoint": "http://minio:0"}}, "spec.storage.endpoint"),
    Case("an endpoint beyond all ports", {"storage": {"endpoint": "http://minio:65536"}}, "spec.storage.endpoint"),
    Case("a region in capitals", {"storage": {"region": "EU"}}, "spec.storage.region"),
    Case("our own label", _labels(**{"finetune.dev/job": "x"}), "spec.podMetadata.labels"),
    Case("the Job controller's label", _labels(**{"batch.kubernetes.io/job-name": "x"}), "spec.podMetadata.labels"),
    Case("the Job controller's old label", _labels(**{"controller-uid": "x"}), "spec.podMetadata.labels"),
    Case(
        "Kueue's annotation",
        {"podMetadata": {"annotations": {"kueue.x-k8s.io/queue-name": "x"}}},
        "spec.podMetadata.annotations",
    ),
    Case("a label key with a blank", _labels(**{"my team": "x"}), "spec.podMetadata.labels"),
    Case("an empty label key", _labels(**{"": "x"}), "spec.podMetadata.labels"),
    Case("a label value with a slash", _labels(team="a/b"), "spec.podMetadata.labels"),
    Case("a long node selector", {"workers": {"nodeSelector": {"a": "v" * 64}}}, "spec.workers.nodeSelector.a"),
    Case("a node selector's key", {"workers": {"nodeSelector": {"a/b/c": "v"}}}, "spec.workers.nodeSelector"),
    Case("a taint key with a blank", _toleration(key="a b", operator="Exists"), "spec.workers.tolerations[0].key"),
)
BAD_URIS = (
    "",
    "models/triage",
    "/models/triage",
    "http://models/triage",
    "S3://models/triage",
    "s3:/models/triage",
    "s3:///triage",
    "s3://",
    "s3://ab",
    "s3://Models/triage",
    "s3://-models/triage",
    "s3://models_a/triage",
    "s3://user@models/triage",
    "s3://models:9000/triage",
    "s3://models/",
    "s3://models/triage/",
    "s3://models//triage",
    "s3://models/a//b",
    "s3://models/../secrets",
    "s3://models/a/..",
    "s3://models/a/../../b",
    "s3://models/./a",
    "s3://models/...",
    "s3://models/%2e%2e/a",
    "s3://models/a%00b",
    "s3://models/a?versionId=1",
    "s3://models/a#b",
    "s3://models/a b",
    " s3://models/a",
    "s3://models/a ",
    "s3://models/a\n",
    "s3://models/a\nb",
    "s3://models/a\tb",
    "s3://models/a\x00b",
    "s3://models/a\x7fb",
    "s3://models/a\u00a0b",
    "s3://models/a\u2028b",
    "s3://models/a\u202eb",
    "s3://models/é",
    "s3://models/\uff0e\uff0e/a",
    "s3://models/a\\b",
    "s3://models/a;b",
    "s3://models/a|b",
    "s3://models/$(id)",
    "s3://models/`id`",
    "s3://models/{a,b}",
    "s3://models/[ab]",
    "s3://models/a'b",
    's3://models/a"b',
    "s3://models/a<b",
    "s3://models/a,\u200bb",
    "s3://169.254.169.254:80/latest",
    "hf://mistralai/Mistral-7B-v0.3",
    "pvc://claim/path",
    "file:models",
    "file://models/a",
    "file:///",
    "file://~",
    "file://~root/a",
    "file:///a/../b",
    "file:///a//b",
    "file:///a/",
    "file:///a?b",
    "file:///a%2eb",
    "file:///a\nb",
    "file:///a\\b",
)
GOOD_URIS = (
    "s3://models",
    "s3://models/triage",
    "s3://my.bucket-1/a/b/c",
    "s3://models/team=a/date=2026-11-23/x_y~z@1+2:3,4",
    "s3://models/.hidden/..a/a..b/c.",
    "file:///srv/models/triage",
    "file://~/models/triage",
    "file:///home/josé/Meine Daten/v1.0",
)
BAD_HUB_URIS = (
    "hf://mistralai/Mistral-7B-v0.3",
    "hf://datasets/owner/name",
    "hf://datasets/name/a.jsonl",
    "hf://datasets/owner/name@/a.jsonl",
    "hf://datasets/owner/name@a/../b.jsonl",
    "hf://datasets/owner/name/a%2eb.jsonl",
    "hf://datasets/own er/name/a.jsonl",
    "hf://spaces/owner/name/a.jsonl",
)
HUB_URIS = (
    "hf://datasets/Owner/name_1.0/train.jsonl",
    "hf://datasets/owner/name@v1.0/data/**/*.parquet",
    "hf://datasets/owner/name@0123456789abcdef0123456789abcdef01234567/*",
    "hf://datasets/owner/name@refs/convert/parquet/default/train/0000.parquet",
    "hf://datasets/owner/name@refs/pr/7/a=b/@c.csv",
)
GLOBS = ("s3://models/*.jsonl", "s3://models/**/part-*", "s3://models/*", "file:///data/*.jsonl")

BAD = (
    *_TYPES,
    *_PRESENCE,
    *_BOUNDS,
    *_CHOICES,
    *_RULES,
    *_STRINGS,
    *(Case(f"output {uri!a}", {"output": {"uri": uri}}, "spec.output.uri") for uri in (*BAD_URIS, *GLOBS, *HUB_URIS)),
    *(Case(f"source {uri!a}", _sources(uri), "spec.data.sources[0].uri") for uri in BAD_HUB_URIS),
    Case("a glob for a model", {"model": {"uri": "s3://models/*"}}, "spec.model.uri"),
    Case("a bucket for a source", _sources("s3://raw"), "spec.data.sources[0].uri"),
    Case("the second source", _sources("s3://raw/a", "s3://raw/../b"), "spec.data.sources[1].uri"),
)
GOOD = (
    Case("the smallest", {}),
    Case("a name of 40 characters", {}, name="a" + "-" * 38 + "0"),
    Case("a name of one character", {}, name="a"),
    *(Case(f"output {uri!a}", {"output": {"uri": uri}}) for uri in GOOD_URIS),
    *(Case(f"source {uri!a}", _sources(uri)) for uri in (*GLOBS, *HUB_URIS)),
    Case("a member of its own type", {"task": {"instruction": {"messagesField": "chat"}}}),
    Case("a classification task without member", {"task": {"type": "Classification"}}),
    Case("a preference task without member and method", {"task": {"type": "Preference"}}),
    Case("a preference task with QLoRA", {"task": {"type": "Preference"}, "method": {"type": "QLoRA"}}),
    Case(
        "a classification task",
        {
            "task": {
                "type": "Classification",
                "classification": {
                    "textField": "body",
                    "labelField": "kind",
                    "multiLabel": True,
                    "labelDelimiter": ";",
                    "labels": ["bug"],
                    "labelMapping": {"bgu": "bug"},
                    "labelSpelling": False,
                    "classWeights": "Balanced",
                },
            }
        },
    ),
    Case("a completion task", {"task": {"type": "Completion", "completion": {"textField": "body"}}}),
    Case("a completion task without member", {"task": {"type": "Completion"}}),
    Case("prompt and answer", {"task": {"instruction": {"promptField": "q", "completionField": "a"}}}),
    Case(
        "a prompt, what it is about, and a system prompt",
        {
            "task": {
                "instruction": {
                    "promptField": "q",
                    "inputField": "i",
                    "systemField": "s",
                    "completionField": "a",
                }
            }
        },
    ),
    Case("paragraphs", {"data": {"sources": [{"uri": "s3://raw/*.txt", "textDocument": "Paragraph"}]}}),
    Case(
        "given files, an earlier division and a benchmark",
        {
            "data": {
                "sources": [
                    {"uri": "s3://raw/a.jsonl"},
                    {"uri": "s3://raw/b.jsonl", "split": "Validation"},
                    {"uri": "s3://raw/c.jsonl", "split": "Test"},
                ],
                "deduplication": "Exact",
                "decontamination": {"evaluation": False, "benchmarks": [{"uri": "s3://exams/*.jsonl"}]},
                "split": {"assignment": "Stable", "previousUri": "s3://out/prepared/0123"},
            }
        },
    ),
    Case("no test rows", {"data": {"split": {"trainPercent": 90, "testPercent": 0}}}),
    Case("all rows to train on", {"data": {"split": {"trainPercent": 100, "validationPercent": 0, "testPercent": 0}}}),
    Case("as much warm-up as steps", {"training": {"maxSteps": 10, "warmupSteps": 10}}),
    Case("the loss watched", {"training": {"earlyStopping": {}}}),
    Case(
        "F1 of labels watched",
        {
            "task": {"type": "Classification"},
            "training": {"earlyStopping": {"metric": "MacroF1", "patience": 2}},
        },
    ),
    Case("whole numbers where fractions may be", {"training": {"learningRate": 1, "weightDecay": 0}}),
    Case("a tiny learning rate", {"training": {"learningRate": 1e-12}}),
    Case("queues and priority", {"scheduling": {"queueName": "gpus", "priorityClass": "high"}}),
    Case("a queue for preparation alone", {"scheduling": {"prepareQueueName": "cpus", "priorityClass": "low"}}),
    Case("every taint", _toleration(operator="Exists")),
    Case("equal by default", _toleration(key="nvidia.com/gpu", value="present")),
    Case("a while", _toleration(key="a", operator="Exists", effect="NoExecute", tolerationSeconds=0)),
    Case("labels and annotations", merge(_labels(team="nlp"), {"podMetadata": {"annotations": {"a.b/c": "d e\n"}}})),
    Case("an empty label value", _labels(team="")),
    Case("an image by digest", {"workers": {"image": f"registry:5000/a/trainer:1.0@sha256:{'0' * 64}"}}),
    Case("requests", {"workers": {"resources": {"cpu": "500m", "memory": "1.5Gi", "scratch": "200G"}}}),
    Case("a scratch volume", {"workers": {"resources": {"scratchStorageClass": "fast.local"}}}),
    Case("an S3 server", {"storage": {"endpoint": "http://127.0.0.1:9000", "region": "eu-central-1"}}),
    Case("an S3 server on the last port", {"storage": {"endpoint": "https://minio:65535"}}),
    Case("suspended from the start", {"suspend": True}),
)
