"""Which objects the sources name, and what their names say of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from finetune_api.contract import ExitCode
from finetune_api.spec import Source, SourceSplit, TextDocument
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.storage import Storage, StoredObject


class Format(StrEnum):
    """How rows are written."""

    JSON_LINES = "JSON Lines"
    JSON = "JSON"
    COMMA_SEPARATED = "CSV"
    TAB_SEPARATED = "TSV"
    TEXT = "text"
    PARQUET = "Parquet"
    ARROW = "Arrow"


class Compression(StrEnum):
    """What may stand behind the format, as Arrow calls it."""

    GZIP = "gzip"
    ZSTD = "zstd"


_FORMATS: Final = {
    "jsonl": Format.JSON_LINES,
    "ndjson": Format.JSON_LINES,
    "json": Format.JSON,
    "csv": Format.COMMA_SEPARATED,
    "tsv": Format.TAB_SEPARATED,
    "txt": Format.TEXT,
    "parquet": Format.PARQUET,
    "arrow": Format.ARROW,
}
_COMPRESSIONS: Final = {"gz": Compression.GZIP, "zst": Compression.ZSTD}


@dataclass(frozen=True, kw_only=True)
class RawObject:
    """A stored object that holds rows."""

    stored: StoredObject
    field: str
    """Where the source that it belongs to stands in the spec."""
    kind: Format
    compression: Compression | None = None
    text_document: TextDocument = TextDocument.FILE
    split: SourceSplit | None = None
    """What all its rows are for, where its source says so."""

    @property
    def uri(self) -> str:
        return self.stored.uri


def find_objects(
    storage: Storage, sources: Sequence[Source], *, within: str = "spec.data.sources"
) -> tuple[RawObject, ...]:
    """The objects that the sources name, each once, sorted by uri. Raises StageFailed naming the source at fault.

    An object that several name belongs to the first of them that has a split, or else to the first.

    `within` is the field of the spec that lists these sources. The uris found are pinned: reading them later, or in
    another process, gives the same content.
    """
    found: dict[str, RawObject] = {}
    for index, source in enumerate(sources):
        field = f"{within}[{index}].uri"
        with blame(field):
            matching = _matching(storage, source.uri)
        if not matching:
            raise StageFailed(
                ExitCode.MISMATCH, "DataAbsent", f"{field}: nothing is stored under {source.uri}", field=field
            )
        for stored in matching:
            _check_name(stored.uri, field)
            form = format_of(stored.uri)
            if form is None:
                kinds = ", ".join(f".{kind}" for kind in _FORMATS)
                message = f"{field}: {stored.uri} is none of {kinds}, nor one of them with .gz or .zst behind it"
                raise StageFailed(ExitCode.BAD_CONFIG, "FormatUnknown", message, field=field)
            kind, compression = form
            raw = RawObject(
                stored=stored,
                field=field,
                kind=kind,
                compression=compression,
                text_document=source.text_document or TextDocument.FILE,
                split=source.split,
            )
            before = found.setdefault(stored.uri, raw)
            if before.split is None:
                found[stored.uri] = before if raw.split is None else raw
            elif raw.split not in (None, before.split):
                field = f"{within}[{index}].split"
                message = f"{field}: {stored.uri} is for {before.split} by {before.field}, not for {raw.split}"
                raise StageFailed(ExitCode.BAD_CONFIG, "SplitConflicts", message, field=field)
    return tuple(found[uri] for uri in sorted(found))


def _check_name(uri: str, field: str) -> None:
    """Files may have names that are no text; they could not be listed in anything that is written."""
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        name = uri.encode(errors="surrogateescape").decode(errors="backslashreplace")
        message = f"{field}: the name of {name} is not UTF-8"
        raise StageFailed(ExitCode.MISMATCH, "NameNotText", message, field=field) from error


def format_of(uri: str) -> tuple[Format, Compression | None] | None:
    """What the end of a name says, in capitals too; None when it says nothing."""
    _, *endings = uri.lower().rpartition("/")[2].split(".")
    compression = _COMPRESSIONS.get(endings[-1]) if endings else None
    if compression is not None:
        endings.pop()
    return (_FORMATS[endings[-1]], compression) if endings and endings[-1] in _FORMATS else None


def _matching(storage: Storage, uri: str) -> list[StoredObject]:
    uri = storage.pinned(uri)
    if "*" not in uri:
        stored = storage.stat(uri)
        return [] if stored is None else [stored]
    pattern = glob_pattern(uri)
    return [stored for stored in storage.list(uri[: uri.index("*")]) if pattern.fullmatch(stored.uri)]


def glob_pattern(uri: str) -> re.Pattern[str]:
    """`*` is any part of a name, `**` of a path; `**/` also matches no folder at all."""
    parts = re.split(r"(\*\*/|\*\*|\*)", uri)
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts))
