"""Files that take far more memory than they are worth if one is careless, and how much reading each takes.

`python hostile_files.py FOLDER` reads all of them, each in a process of its own, and prints a line of JSON for each.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from finetune_api.spec import TextDocument
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import BadLine, Notes, read_rows
from raw_files import raw_object, zstd

MIB: Final = 1 << 20
HALF_GIB: Final = 1 << 29
_ADDRESS_SPACE: Final = 6 << 30
"""Whoever holds all of a file is stopped here, and the machine goes on."""


@dataclass(frozen=True)
class Hostile:
    """A file, made as it is read."""

    about: str
    name: str
    blocks: Callable[[], Iterable[bytes]]
    ends: str
    """What reading it comes to: words of the error, or `N rows, M bad: …`."""
    text_document: TextDocument = TextDocument.FILE


def _blocks(content: bytes, total: int, *, start: bytes = b"", end: bytes = b"") -> Callable[[], Iterable[bytes]]:
    """`content` for ever, until there are about `total` bytes."""
    block = content * max(1, MIB // len(content))
    return lambda: chain([start], repeat(block, total // len(block)), [end])


def _json_array() -> Iterable[bytes]:
    row = b'{"text": "' + b"x" * (8 * MIB) + b'"}'
    return chain([b"[", row], repeat(b"," + row, 31), [b"]"])


def _repeated_texts() -> Iterable[bytes]:
    """2 x 400 texts of a megabyte are 90 kB of Parquet, and 800 MB as plain columns."""
    text = "x" * 1_000_000
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    part = pa.table({"m": pa.array([[{"role": "user", "content": text}]] * 10, turns), "text": [text] * 10})
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables([part] * 40), sink, row_group_size=400)
    return [sink.getvalue()]


_BLANK: Final = b" " * (MIB - 1) + b"\n"
FILES: Final = (
    Hostile("a gzip bomb", "x.jsonl.gz", _blocks(gzip.compress(_BLANK), 8 * MIB), "become more than 6"),
    Hostile("a zstd bomb", "x.csv.zst", _blocks(zstd(_BLANK), 8 * MIB), "become more than 6"),
    Hostile("a bomb of Parquet", "x.parquet.gz", _blocks(gzip.compress(bytes(MIB)), 8 * MIB), "become more than 6"),
    Hostile("a line of half a gigabyte", "x.jsonl", _blocks(b"x", HALF_GIB), "0 rows, 1 bad: longer than 16 MiB"),
    Hostile("a header of half a gigabyte", "x.csv", _blocks(b"x,", HALF_GIB), "the header is longer than 16 MiB"),
    Hostile(
        "a quote that never ends",
        "x.csv",
        _blocks(b"fifteen letters\n", HALF_GIB, start=b'a,b\n1,"'),
        "not closed within 16 MiB",
    ),
    Hostile("a document of half a gigabyte", "x.txt", _blocks(b"x", HALF_GIB), "0 rows, 1 bad: longer than 16 MiB"),
    Hostile(
        "a paragraph of half a gigabyte",
        "x.txt",
        _blocks(b"x" * 1023 + b"\n", HALF_GIB),
        "0 rows, 1 bad: longer than 16 MiB",
        TextDocument.PARAGRAPH,
    ),
    Hostile(
        "a string of half a gigabyte", "x.json", _blocks(b"x", HALF_GIB, start=b'[{"a": "'), "or longer than 16 MiB"
    ),
    Hostile("an array of a quarter of a gigabyte", "x.json", _json_array, "32 rows, 0 bad"),
    Hostile("half a gigabyte of depth", "x.json", _blocks(b"[", HALF_GIB), "maximum recursion depth exceeded"),
    Hostile("a deep line", "x.jsonl", _blocks(b"[", 15 * MIB, end=b"\n{}"), "1 rows, 1 bad: more than 64 levels deep"),
    Hostile(
        "a line of millions of members",
        "x.jsonl",
        _blocks(b"{},", 15 * MIB, start=b'{"a": [', end=b"{}]}"),
        "0 rows, 1 bad: more than 100000 members",
    ),
    Hostile(
        "a value of ten million members",
        "x.json",
        _blocks(b"{},", 30 * MIB, start=b'[{"a": [', end=b"{}]}]"),
        "damaged at line 1: what begins there has more than 100000 members",
    ),
    Hostile(
        "a text of millions of commas", "x.jsonl", _blocks(b",", 15 * MIB, start=b'{"a": "', end=b'"}'), "1 rows, 0"
    ),
    Hostile("such a text in JSON", "x.json", _blocks(b",", 15 * MIB, start=b'[{"a": "', end=b'"}]'), "1 rows, 0"),
    Hostile("such a text in CSV", "x.csv", _blocks(b",", 15 * MIB, start=b'a,b\n1,"', end=b'"'), "1 rows, 0"),
    Hostile(
        "a row of millions of columns",
        "x.csv",
        _blocks(b"ab,", 15 * MIB, start=b"a,b\n"),
        "0 rows, 1 bad: more than 100000 columns",
    ),
    Hostile("a text that is repeated for ever", "x.parquet", _repeated_texts, "400 rows, 0 bad"),
)

CARELESS: Final = Hostile("a file that is held whole", "x.jsonl", _blocks(b"x", HALF_GIB), str(HALF_GIB))
"""Read by somebody who does that: what would be measured then."""


class _Stream(io.RawIOBase):
    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._held:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._held = memoryview(block)
        num_read = min(len(buffer), len(self._held))
        buffer[:num_read] = self._held[:num_read]
        self._held = self._held[num_read:]
        return num_read


def _end_of(file: Hostile, scratch: Path) -> str:
    stream: BinaryIO = io.BufferedReader(_Stream(file.blocks()), MIB)
    raw = raw_object(file.name, text_document=file.text_document)
    rows, bad = 0, []
    try:
        for row in read_rows(stream, raw, scratch=scratch, notes=Notes()):
            if isinstance(row, BadLine):
                bad.append(row.reason)
            rows += not isinstance(row, BadLine)
    except StageFailed as failed:
        return str(failed)
    return f"{rows} rows, {len(bad)} bad" + (f": {bad[0]}" if bad else "")


def _status(field: str) -> int:
    """Bytes of memory of this process, by the kernel's name: VmRSS now, VmHWM at most."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) << 10


def _measured(scratch: Path) -> Iterator[dict[str, object]]:
    for file in (CARELESS, *FILES):
        out, into = os.pipe()
        if not (child := os.fork()):
            resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
            before = _status("VmRSS")
            try:
                end = str(len(b"".join(file.blocks()))) if file is CARELESS else _end_of(file, scratch)
            except MemoryError:
                end = "MemoryError"
            answer = {"about": file.about, "end": end, "grown_by": _status("VmHWM") - before}
            os.write(into, json.dumps(answer).encode())
            os._exit(0)
        os.close(into)
        with os.fdopen(out, "rb") as end_of_pipe:
            content = end_of_pipe.read()
        _, status = os.waitpid(child, 0)
        yield json.loads(content) if content else {"about": file.about, "end": f"died: {status}", "grown_by": 0}


if __name__ == "__main__":
    for found in _measured(Path(sys.argv[1])):
        print(json.dumps(found), flush=True)
