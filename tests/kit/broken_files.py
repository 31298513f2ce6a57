"""Raw files that are broken in one way each, and what preparation is to say of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from corpora import pair
from raw_files import arrow, parquet

GOOD_ROWS: Final = 40
"""Beside what is broken in a file of lines, so that one bad row fails nothing."""
MEGABYTE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A file that is wrong in one way."""

    about: str
    name: str
    content: Callable[[], bytes]
    rejected: int = 0
    """Rows that are listed in rejected.jsonl; the job goes on without them."""
    says: str = ""
    """Of rejected rows what each reason has in it; of a failure what the message has."""
    fails: str = ""
    """The reason of the job's failure; empty where the job goes on."""
    place: int | None = None
    """Of the first offending row in this file."""


def good(count: int = GOOD_ROWS) -> list[bytes]:
    """Lines of good rows, none of them ASCII only, so that the encoding is sure."""
    return [json.dumps(pair(number, note="é日"), ensure_ascii=False).encode() for number in range(count)]


def with_line(*lines: bytes) -> Callable[[], bytes]:
    """Good rows, and these after the third."""
    return lambda: b"\n".join([*good()[:3], *lines, *good()[3:]]) + b"\n"


def with_row(**row: Any) -> Callable[[], bytes]:
    return with_line(json.dumps(row).encode())


def rows(count: int = GOOD_ROWS) -> dict[str, list[str]]:
    """Columns of good rows."""
    pairs = [pair(number) for number in range(count)]
    return {name: [row[name] for row in pairs] for name in ("prompt", "completion")}


def table(*more: str) -> Callable[[], bytes]:
    """A CSV of good rows, with these lines after the third."""
    lines = [f"{row['prompt']},{row['completion']}" for row in map(pair, range(GOOD_ROWS))]
    return lambda: "\n".join(["prompt,completion", *lines[:3], *more, *lines[3:], ""]).encode()


def array(*more: str) -> str:
    return ",\n".join([*(json.dumps(pair(number)) for number in range(GOOD_ROWS)), *more])


def packed(content: bytes, times: int = 1) -> bytes:
    return gzip.compress(content) * times


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f"{role} says"} for role in roles]


def calling(arguments: str, *roles: str) -> list[dict[str, Any]]:
    """A question, a call, and what these say next."""
    call = {"role": "assistant", "function_call": {"name": "f", "arguments": arguments}}
    return [*turns("user"), call, *turns(*roles)]


def _row(about: str, content: Callable[[], bytes], says: str, **more: Any) -> Broken:
    given = {"name": "x.jsonl", "rejected": 1, "place": 4}
    return Broken(about=about, content=content, says=says, **{**given, **more})


def _file(about: str, name: str, content: Callable[[], bytes], says: str, **more: Any) -> Broken:
    return Broken(about=about, name=name, content=content, says=says, **{"fails": "DataCorrupt", **more})


ROWS: Final = (
    _row("JSON that ends early", with_line(b'{"prompt": "q", "compl'), "not JSON at column 17: Unterminated string"),
    _row("two rows in one line", with_line(b'{"prompt": "q"}{"prompt": "r"}'), "not JSON at column 16: Extra data"),
    _row("single quotes", with_line(b"{'prompt': 'q'}"), "not JSON at column 2: Expecting property name"),
    _row("an array for an object", with_line(b'["q", "a"]'), "not a JSON object"),
    _row("a text for an object", with_line(b'"q"'), "not a JSON object"),
    _row("null for an object", with_line(b"null"), "not a JSON object"),
    _row("a line of HTML", with_line(b"<html><body>502 Bad Gateway</body></html>"), "not JSON at column 1"),
    _row("a raw tab in a text", with_line(b'{"prompt": "a\tb", "completion": "c"}'), "Invalid control character"),
    _row("NUL bytes for a line", with_line(b"\0" * 100), "not JSON at column 1"),
    _row("bytes that are no UTF-8", with_line(b'{"prompt": "\xff\xfe", "completion": "a"}'), "not UTF-8 at byte 13"),
    _row("half a surrogate pair", with_row(prompt="\ud83d", completion="a"), "prompt holds half a surrogate pair"),
    _row("a line of 17 MB", with_row(prompt="x" * 17 * MEGABYTE, completion="a"), "longer than 16 MiB"),
    _row("a hundred thousand levels", with_line(b'{"a": ' + b"[" * 100_000), "more than 64 levels deep"),
    _row("half a million members", with_line(b"[" + b"{}," * 500_000 + b"{}]"), "more than 100000 members"),
    _row("a number of 5,000 digits", with_line(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON that can be read"),
    _row("no known shape", with_row(question="q", answer="a"), "has no known shape"),
    _row("an unknown role", with_row(messages=turns("user", "bot")), "unknown role 'bot'"),
    _row(
        "an answer before any question", with_row(messages=turns("assistant", "user", "assistant")), "assistant's where"
    ),
    _row(
        "two questions at once", with_row(messages=turns("user", "user", "assistant")), "user's where the assistant's"
    ),
    _row("a question without an answer", with_row(messages=turns("user")), "ends without an answer"),
    _row("no messages", with_row(messages=[]), "messages is no list of messages"),
    _row("messages that are text", with_row(messages="user: q"), "messages is no list of messages"),
    _row("a message without content", with_row(messages=[{"role": "user"}]), "has no role and content"),
    _row("a null answer", with_row(prompt="q", completion=None), "completion is null, not text"),
    _row("an answer of blanks", with_row(prompt="q", completion=" \n"), "empty answer"),
    _row("a number for an answer", with_row(prompt="q", completion=4), "completion is a number, not text"),
    _row("a result without a call", with_row(messages=turns("user", "tool", "assistant")), "the result of no call"),
    _row("a call without its result", with_row(messages=calling("{}", "user")), "before the result of the call"),
    _row("arguments that are no JSON", with_row(messages=calling("{city}", "tool")), "arguments is not JSON"),
    _row("a call of an unknown tool", with_row(messages=calling("{}"), tools=[{"name": "g"}]), "tools do not define"),
    _row("tools that are no list", with_row(messages=turns("user", "assistant"), tools={"a": 1}), "no list of tools"),
    _row("a picture", with_row(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "only text can be"),
    _row(
        "a row longer than the model's",
        with_row(prompt="q", completion="x " * 400),
        "spec.training.sequenceLength is 256",
    ),
    _row("too few columns", table("q"), "1 columns where the header has 2", name="x.csv", place=5),
    _row("too many columns", table("q,a,b"), "3 columns where the header has 2", name="x.csv", place=5),
    _row("a quote within a field", table('"q"r,a'), "',' expected after", name="x.csv", place=5),
    _row(
        "lines joined by a stray quote",
        table('"q', "r", 's"t,a'),
        "',' expected after",
        name="x.csv",
        place=5,
        rejected=3,
    ),
    _row(
        "a cell of 17 MB in a column",
        lambda: parquet({**rows(), "note": ["", "", "", "x" * 17 * MEGABYTE, *[""] * (GOOD_ROWS - 4)]}),
        "longer than 16 MiB",
        name="x.parquet",
    ),
    _row(
        "bytes that are no UTF-8 in a column",
        lambda: parquet(
            pa.table({**rows(), "note": pa.array([b"", b"", b"", b"\xff", *[b""] * (GOOD_ROWS - 4)]).view(pa.string())})
        ),
        "not UTF-8",
        name="x.parquet",
    ),
    _row(
        "a text within a JSON array",
        lambda: f"[{array(json.dumps('q'))}]".encode(),
        "not a JSON object",
        name="x.json",
        place=GOOD_ROWS + 1,
    ),
)
"""A row is broken: it is listed, and the job goes on."""

FILES: Final = (
    _file("an empty file", "x.jsonl", lambda: b"", "there are no rows", fails="DataEmpty"),
    _file("blank lines only", "x.jsonl", lambda: b"\n \n\t\n", "there are no rows", fails="DataEmpty"),
    _file("a header only", "x.csv", lambda: b"prompt,completion\n", "there are no rows", fails="DataEmpty"),
    _file("an empty array", "x.json", lambda: b"[]", "there are no rows", fails="DataEmpty"),
    _file("no rows in columns", "x.parquet", lambda: parquet(rows(0)), "there are no rows", fails="DataEmpty"),
    _file("a name that says nothing", "x.xlsx", lambda: b"PK\3\4", "x.xlsx is none of", fails="FormatUnknown"),
    _file(
        "a spreadsheet called CSV", "x.csv", lambda: b"PK\3\4" + bytes(50), "a zip archive or a spreadsheet", place=1
    ),
    _file(
        "gzip without its name",
        "x.jsonl",
        lambda: packed(b"{}"),
        "content is gzip; its name must end with .gz",
        place=1,
    ),
    _file(
        "Parquet called JSON", "x.json", lambda: parquet(rows()), "content is Parquet; its name must end with", place=1
    ),
    _file("a text called gzip", "x.jsonl.gz", with_line(b"{}"), "incorrect header check", place=0),
    _file("half of a gzip", "x.jsonl.gz", lambda: packed(b"\n".join(good()))[:-30], "Truncated", place=0),
    _file(
        "something behind a gzip",
        "x.jsonl.gz",
        lambda: packed(b"\n".join(good())) + b"!!",
        "zlib inflate failed",
        place=0,
    ),
    _file("half of a zstd", "x.jsonl.zst", lambda: zstd(b"\n".join(good()))[:-9], "Truncated", place=0),
    _file(
        "a gzip bomb",
        "x.jsonl.gz",
        lambda: packed(b" " * (MEGABYTE - 1) + b"\n", 500),
        "store the file unpacked",
        place=0,
    ),
    _file(
        "a bomb of one line",
        "x.csv.gz",
        lambda: packed(b"x" * MEGABYTE, 500),
        "store the file unpacked",
        place=0,
    ),
    _file("UTF-32", "x.jsonl", lambda: '{"a": 1}'.encode("utf-32"), "it is UTF-32; store it as UTF-8", place=1),
    _file(
        "an array that does not end",
        "x.json",
        lambda: f"[{array()}".encode(),
        "the array does not end",
        place=GOOD_ROWS,
    ),
    _file(
        "an array without a comma", "x.json", lambda: b'[{"a": 1}\n{"a": 2}]', "in line 2 at column 1: a ','", place=2
    ),
    _file("an array with a comma too many", "x.json", lambda: b'[{"a": 1},\n]', "in line 2 at column 1", place=2),
    _file("a quote that never ends", "x.csv", table('"q,a'), "a quote that opens in this row is never closed", place=5),
    _file("a column twice", "x.csv", lambda: b"prompt,prompt\nq,a\n", "names column 1 twice", place=1),
    _file("no table at all", "x.parquet", lambda: b"prompt,completion\nq,a\n", "magic bytes not found", place=0),
    _file("half of a Parquet", "x.parquet", lambda: parquet(rows())[:-100], "magic bytes not found", place=0),
    _file(
        "half of an Arrow", "x.arrow", lambda: arrow([pa.record_batch(rows())])[:-500], "for message body, got", place=0
    ),
    _file(
        "Parquet that unpacks to hundreds of its size",
        "x.parquet",
        lambda: parquet({"text": ["x" * MEGABYTE] * 70}, use_dictionary=False, compression="ZSTD"),
        "of row group 1 become 70 MiB; write it unpacked",
        place=0,
    ),
    _file(
        "the wrong columns",
        "x.csv",
        lambda: b"question,answer\n" + b"q,a\n" * 20,
        "the rows have: answer, question",
        fails="FieldAbsent",
    ),
    _file(
        "no header",
        "x.csv",
        lambda: b"\n".join([b"What is this?," + b"x" * 99] * 20),
        "the rows have: ",
        fails="FieldAbsent",
    ),
    _file(
        "labelled texts for conversations",
        "x.jsonl",
        lambda: b'{"text": "t", "label": "l"}\n' * 20,
        "spec.task.instruction",
        fails="FieldAbsent",
    ),
    _file("ten bad rows", "x.jsonl", with_line(*[b"{"] * 10), "10 of 50 rows", fails="TooManyBadRows", place=4),
    _file(
        "another encoding of ten rows",
        "x.jsonl",
        lambda: '{"prompt": "вопрос", "completion": "ответ"}\n'.encode("cp1251") * 12,
        "12 of 12 rows (100.0 %) are unreadable or invalid",
        fails="TooManyBadRows",
        place=1,
    ),
)
"""The file is broken, or all of it the wrong thing: the job ends and says so."""
