"""Raw rows out of JSON Lines objects: which objects, and what stands in each of their lines."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, Final, NamedTuple

from finetune_api.contract import ExitCode
from finetune_api.spec import Source
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.storage import Storage, StoredObject

MAX_ROW_BYTES: Final = 16 << 20
"""A longer line is rejected unread: no row of text is that long, a file that is not JSON Lines may be."""
SUFFIXES: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RawRow(NamedTuple):
    """A line that holds a JSON object. Lines are counted from 1; blank ones are no rows."""

    line: int
    fields: dict[str, object]


class BadLine(NamedTuple):
    """A line that does not."""

    line: int
    reason: str


def find_objects(storage: Storage, sources: Sequence[Source]) -> tuple[StoredObject, ...]:
    """The objects that the sources name, each once, sorted by uri. Raises StageFailed naming the source at fault."""
    found: dict[str, StoredObject] = {}
    for index, source in enumerate(sources):
        field = f"spec.data.sources[{index}].uri"
        with blame(field):
            matching = _matching(storage, source.uri)
        if not matching:
            raise StageFailed(
                ExitCode.MISMATCH, "DataAbsent", f"{field}: nothing is stored under {source.uri}", field=field
            )
        for stored in matching:
            if not stored.uri.endswith(SUFFIXES):
                message = f"{field}: {stored.uri} is none of {', '.join(SUFFIXES)}"
                raise StageFailed(ExitCode.BAD_CONFIG, "FormatUnknown", message, field=field)
            found[stored.uri] = stored
    return tuple(found[uri] for uri in sorted(found))


def _matching(storage: Storage, uri: str) -> list[StoredObject]:
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


def read_rows(stream: BinaryIO, name: str) -> Iterator[RawRow | BadLine]:
    """What stands in each line of an object called `name`. Raises StageFailed when a compressed one is damaged."""
    lines = gzip.GzipFile(fileobj=stream) if PurePosixPath(name).suffix == ".gz" else stream
    number = 0
    try:
        for number, line in enumerate(_lines(lines), start=1):
            if line is None:
                yield BadLine(number, f"longer than {MAX_ROW_BYTES >> 20} MiB")
                continue
            content = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
            if content:
                yield _parse(number, content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StageFailed(
            ExitCode.MISMATCH,
            "DataCorrupt",
            f"{name} is damaged after line {number}: {error}",
            field="spec.data.sources",
            places=(place(name, number),),
        ) from error


def _lines(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes | None]:
    while line := stream.readline(MAX_ROW_BYTES):
        if line.endswith(b"\n") or len(line) < MAX_ROW_BYTES:
            yield line
            continue
        yield None
        while (rest := stream.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
            pass


def _parse(number: int, line: bytes) -> RawRow | BadLine:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8 at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return BadLine(number, f"not JSON at column {error.colno}: {error.msg.removesuffix(' at')}")
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"not JSON that can be read: {error}")
    return RawRow(number, value) if isinstance(value, dict) else BadLine(number, "not a JSON object")


def place(uri: str, line: int) -> str:
    """`file:line`, short enough for a Result."""
    shown = uri if len(uri) <= 240 else f"…{uri[-239:]}"
    return f"{shown}:{line}"
