"""Manifest files to FineTuneJobs, or all that is wrong with them: what kubectl and the API server say, in our words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from finetune_api.contract import API_VERSION, GROUP, KIND
from finetune_api.crd import custom_resource_definition
from finetune_api.job import FineTuneJob
from finetune_api.model import Model
from finetune_api.strings import LABEL_KEYS, JobName, LabelValue, NamespaceName
from finetune_operator.cli import kubectl_yaml
from finetune_operator.cli.wording import in_words


@dataclass(frozen=True)
class Problem:
    """One thing to change."""

    file: str
    line: int
    """From 1; 0 when it is about the file as a whole."""
    field: str
    """As `spec.data.sources[0].uri`; empty when it is about no field."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.field, self.message) if part)


@dataclass(frozen=True)
class Manifest:
    """One valid FineTuneJob."""

    body: dict[str, Any]
    """As written: JSON-compatible, without nulls and status, defaults not filled in."""
    job: FineTuneJob


@dataclass(frozen=True)
class Read:
    """What a file holds. Documents of other kinds are passed over."""

    manifests: tuple[Manifest, ...]
    problems: tuple[Problem, ...]


class _Metadata(Model):
    """Metadata that a person may write, or finds in `kubectl get -o yaml`."""

    name: JobName
    namespace: NamespaceName | None = None
    labels: Annotated[dict[str, LabelValue], LABEL_KEYS] = {}
    annotations: Annotated[dict[str, str], LABEL_KEYS] = {}
    finalizers: Any = None
    owner_references: Any = None
    uid: Any = None
    generation: Any = None
    resource_version: Any = None
    creation_timestamp: Any = None
    managed_fields: Any = None
    self_link: Any = None


_METADATA_FIELDS = {str(field.alias): field for field in _Metadata.model_fields.values()}


def read_manifests(path: Path) -> Read:
    """The FineTuneJobs of a file, and every problem of those that are not valid."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return Read((), (Problem(str(path), 0, "", f"cannot be read: {error.strerror}"),))
    except UnicodeDecodeError:
        return Read((), (Problem(str(path), 0, "", "is not UTF-8 text"),))
    return read_text(text, file=str(path))


def read_text(text: str, *, file: str) -> Read:
    """`read_manifests`, of text that came from `file`."""
    documents, flaws = kubectl_yaml.read_documents(text)
    problems = [Problem(file, flaw.line, _dotted(flaw.path), flaw.message) for flaw in flaws]
    manifests = []
    for document in documents:
        if not _is_ours(document.value):
            continue
        written = {key: value for key, value in document.value.items() if key != "status"}
        body = _without_nulls(written)
        wrong = [*_flaws(written, body)]
        problems += [Problem(file, document.line(path), _dotted(path), message) for path, message in wrong]
        if not wrong:
            manifests.append(Manifest(body, FineTuneJob.parse(body)))
    if not problems and not manifests:
        problems.append(Problem(file, 0, "", f"holds no {KIND}: one has `apiVersion: {API_VERSION}`"))
    return Read(() if flaws else tuple(manifests), tuple(sorted(problems, key=lambda problem: problem.line)))


def _is_ours(value: Any) -> bool:
    """Also when its kind or its version is misspelt."""
    return isinstance(value, Mapping) and (
        value.get("kind") == KIND or str(value.get("apiVersion", "")).startswith(f"{GROUP}/")
    )


def _without_nulls(value: Any) -> Any:
    """As the API server: a field that is null is absent, and its default applies."""
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


def _flaws(written: dict[str, Any], body: dict[str, Any]) -> Iterator[tuple[kubectl_yaml.Path, str]]:
    """What is wrong with one object, by field; `body` is what remains of it as `written` without nulls."""
    for key, value in (("apiVersion", API_VERSION), ("kind", KIND)):
        if key not in body:
            yield (key,), f"is required: {value}"
    metadata = body.get("metadata")
    for error in _errors(_Metadata.parse, metadata) if isinstance(metadata, dict) else ():
        yield ("metadata", *error["loc"]), in_words(error, _METADATA_FIELDS)
    for error in _errors(FineTuneJob.parse, body):
        if error["loc"][:1] != ("metadata",) or not isinstance(metadata, dict):
            yield error["loc"], in_words(error, _fields_at(error["loc"][:-1]))
    for error in _errors(FineTuneJob.parse, written):
        if error["type"] == "extra_forbidden" and error["input"] is None:
            yield error["loc"], in_words(error, _fields_at(error["loc"][:-1]))


def _errors(parse: Callable[[dict[str, Any]], object], body: dict[str, Any]) -> list[ErrorDetails]:
    try:
        parse(body)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        # A list is also said to be too short when its items are wrong.
        wrong_items = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
        return [error for error in errors if error["type"] != "too_short" or error["loc"] not in wrong_items]
    return []


def _fields_at(path: kubectl_yaml.Path) -> Mapping[str, Any]:
    """The fields that the API has below `path`; none when that is no object."""
    schema: Mapping[str, Any] = _object_schema()
    for part in path:
        schema = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
    fields: Mapping[str, Any] = schema.get("properties", {})
    return fields


@cache
def _object_schema() -> dict[str, Any]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _dotted(path: kubectl_yaml.Path) -> str:
    """`spec.data.sources[0].uri`; a key that is no field name is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{json.dumps(part)}]"
    return text.removeprefix(".")
