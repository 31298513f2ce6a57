"""The kinds of string in a spec, and of maps of strings: how long each may be, and what it may look like."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from finetune_api.contract import GROUP
from finetune_api.rules import Rule, keys_matching, keys_not_starting, matching

_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME: Final = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL_NAME: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY: Final = rf"({_DNS_NAME}/)?{_LABEL_NAME}"
_BUCKET: Final = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"


def _uri(*, wildcard: str, needs_key: bool) -> str:
    # An S3 key holds what every tool writes alike, without `%`; a local path is whatever its owner made it.
    # A part has something besides dots: neither `..` nor an empty part gets through.
    key = rf"[A-Za-z0-9_~@=+:,{wildcard}-]"
    path = rf"[^/.?#%\\\x00-\x1f\x7f{'' if wildcard else '*'}]"
    return (
        rf"s3://{_BUCKET}(/\.*{key}({key}|\.)*){'+' if needs_key else '*'}"
        rf"|file://~?(/\.*{path}({path}|\.)*)+"
    )


def _input_uri() -> str:
    # As the Hub names things, and no `%`: of the revisions with a slash only those that the Hub makes itself.
    word = "[A-Za-z0-9_][A-Za-z0-9._-]*"
    key = "[A-Za-z0-9_~@=+:,*-]"
    dataset = rf"{word}/{word}(@(refs/convert/|refs/pr/)?{word})?"
    return rf"{_uri(wildcard='*', needs_key=True)}|hf://datasets/{dataset}(/\.*{key}({key}|\.)*)+"


_NO_URI: Final = "without empty parts, '..', '%', '?', '#' or a slash at the end"
_INPUT_URI_MESSAGE: Final = (
    f"must be s3://bucket/key, hf://datasets/owner/name[@revision]/path, or file:///path with `finetune run`, {_NO_URI}"
)
_OUTPUT_URI_MESSAGE: Final = f"must be s3://bucket/prefix, or file:///path with `finetune run`, {_NO_URI}, nor a '*'"
_NAME_MESSAGE: Final = "must be the name of an object: lower-case letters, digits, '-' and '.'"

JobName = Annotated[
    str,
    StringConstraints(max_length=40),
    matching(
        r"[a-z]([-a-z0-9]*[a-z0-9])?",
        "must be lower-case letters, digits and '-', begin with a letter and not end with '-'",
    ),
]
"""Of a FineTuneJob: its children's names begin with it, and one of them is a DNS label."""
Name = Annotated[str, StringConstraints(max_length=253), matching(_DNS_NAME, _NAME_MESSAGE)]
"""Of a Kubernetes object in the job's namespace."""
NamespaceName = Annotated[
    str, StringConstraints(max_length=63), matching(_DNS_LABEL, "must be lower-case letters, digits and '-'")
]
QueueName = Annotated[str, StringConstraints(max_length=63), matching(_DNS_NAME, _NAME_MESSAGE)]
"""A name that becomes the value of a label, which is shorter."""
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""Of a field in a row of raw data."""
BoilerplateLine = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A whole line of text."""
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""What a row of raw data is labelled with."""
LabelDelimiter = Annotated[str, StringConstraints(min_length=1, max_length=8)]
LabelMapping = Annotated[
    dict[str, LabelName],
    Field(max_length=1000),
    Rule(
        cel="self.all(key, size(key) > 0 && size(key) <= 128)",
        message="must have keys of 1 to 128 characters",
        holds=lambda mapping: all(0 < len(key) <= 128 for key in mapping),
    ),
]
LanguageCode = Annotated[
    str,
    StringConstraints(max_length=2),
    matching("[a-z]{2}", "must be a language's two letters in ISO 639-1, such as en"),
]
ModuleName = Annotated[str, StringConstraints(min_length=1, max_length=32)]
"""Of a layer, as in `q_proj`."""
TrackingProject = Annotated[
    str,
    StringConstraints(max_length=128),
    matching(
        r"[A-Za-z0-9][A-Za-z0-9 ._/-]*", "must begin with a letter or digit, then letters, digits, blanks and . _ / -"
    ),
]
Cores = Annotated[
    str,
    StringConstraints(max_length=16),
    matching(r"[1-9][0-9]*m?|[0-9]+\.[0-9]{1,3}", 'must be a number of CPU cores in quotes, such as "4" or "500m"'),
]
Bytes = Annotated[
    str,
    StringConstraints(max_length=16),
    matching(r"[1-9][0-9]*(\.[0-9]{1,3})?(M|G|T|Ki|Mi|Gi|Ti)", "must be a size with its unit, such as 64Gi"),
]
_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def num_bytes(size: Bytes) -> int:
    """1536 for `1.5Ki`."""
    number = size.rstrip("MGTKi")
    return int(float(number) * _UNITS[size.removeprefix(number)])


def in_gib(size: int) -> str:
    """`1.5 GiB`."""
    return f"{size / (1 << 30):.1f} GiB"


InputUri = Annotated[str, StringConstraints(max_length=1024), matching(_input_uri(), _INPUT_URI_MESSAGE)]
OutputUri = Annotated[
    str, StringConstraints(max_length=300), matching(_uri(wildcard="", needs_key=False), _OUTPUT_URI_MESSAGE)
]
"""Shorter than an S3 key may be (1,024 bytes), for keys are made below it, and four such places fit a Result."""
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
Endpoint = Annotated[
    str,
    StringConstraints(max_length=512),
    matching(
        rf"https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:{_PORT})?(/[A-Za-z0-9._~-]+)*",
        "must be http(s)://host[:port], without credentials, query or a slash at the end",
    ),
]
Region = Annotated[
    str,
    StringConstraints(max_length=64),
    matching(r"[a-z0-9]+(-[a-z0-9]+)*", "must be a region such as eu-central-1"),
]
Image = Annotated[
    str,
    StringConstraints(max_length=512),
    matching(
        r"[A-Za-z0-9][A-Za-z0-9.:/_-]*(@sha256:[0-9a-f]{64})?",
        "must be an image such as registry.example.com/trainer:1.0, by tag or by digest",
    ),
]
TaintKey = Annotated[
    str,
    StringConstraints(max_length=253),
    matching(_LABEL_KEY, "must be a key such as nvidia.com/gpu"),
]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63),
    matching(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", "must be letters, digits, '-', '_' and '.'"),
]
AnnotationValue = Annotated[str, StringConstraints(max_length=1024)]

LABEL_KEYS: Final = keys_matching(
    _LABEL_KEY, max_length=253, message="must have keys such as team or example.com/team, at most 253 characters long"
)
_UNRESERVED: Final = keys_not_starting(
    f"{GROUP}/", "batch.kubernetes.io/", "kueue.x-k8s.io/", "job-name", "controller-uid"
)
NodeLabels = Annotated[dict[str, LabelValue], Field(max_length=32), LABEL_KEYS]
PodLabels = Annotated[dict[str, LabelValue], Field(max_length=32), LABEL_KEYS, _UNRESERVED]
PodAnnotations = Annotated[dict[str, AnnotationValue], Field(max_length=32), LABEL_KEYS, _UNRESERVED]
