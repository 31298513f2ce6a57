"""Which URIs mean nothing on a cluster, where every pod has files of its own."""

from __future__ import annotations

from finetune_api.result import Failure
from finetune_api.spec import Spec
from finetune_operator.decide.reasons import Reason


def local_uri(spec: Spec) -> Failure | None:
    """The first file:// URI, as a failure that names its field."""
    data, benchmarks = spec.data, "spec.data.decontamination.benchmarks"
    uris = [
        ("spec.model.uri", spec.model.uri),
        *((f"spec.data.sources[{index}].uri", source.uri) for index, source in enumerate(data.sources)),
        *((f"{benchmarks}[{index}].uri", each.uri) for index, each in enumerate(data.decontamination.benchmarks)),
        ("spec.data.split.previousUri", data.split.previous_uri or ""),
        ("spec.data.cacheUri", data.cache_uri or ""),
        ("spec.output.uri", spec.output.uri),
    ]
    field = next((field for field, uri in uris if uri.startswith("file://")), None)
    if field is None:
        return None
    message = f"{field}: pods on a cluster share no files; use s3://, or run it on one machine with `finetune run`"
    return Failure(reason=Reason.INVALID_SPEC, message=message, field=field)
