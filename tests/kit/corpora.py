"""Raw rows and the folders they lie in: the input of `prepare`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune_api.contract import Stage
from finetune_api.snapshot import Snapshot
from jobs import make_job
from tiny_models import tiny_model


def pair(number: int, **more: Any) -> dict[str, Any]:
    """A good Instruction row, another for each number."""
    return {"prompt": f"What is {number} + 1?", "completion": f"It is {number + 1}.", **more}


TOPICS = ("refund", "delivery", "invoice")


def ticket(number: int) -> dict[str, Any]:
    """A good Classification row, another for each number. Half of them are about the first topic."""
    topic = TOPICS[number % 4 % len(TOPICS)]
    return {"text": f"Ticket {number} is about a {topic}", "label": topic}


def conversation(*contents: str, system: str | None = None) -> dict[str, Any]:
    """A row of messages, the user's first."""
    roles = ("user", "assistant")
    turns = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return {"messages": [{"role": "system", "content": system}, *turns] if system else turns}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any] | bytes]) -> Path:
    """JSON Lines, compressed where the name says so; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    content = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def prepare_snapshot(home: Path, rows: Iterable[Mapping[str, Any] | bytes] | None = None, **spec: Any) -> Snapshot:
    """A prepare attempt over `rows` (100 good ones) and a tiny model, all below `home`; keywords as for make_job."""
    if not (home / "model").exists():
        tiny_model(home / "model")
    if rows is not None or not (home / "raw").exists():
        write_rows(home / "raw" / "rows.jsonl", rows if rows is not None else map(pair, range(100)))
    given: dict[str, Any] = {
        "model": {"uri": f"file://{home}/model"},
        "data": {"sources": [{"uri": f"file://{home}/raw/*.jsonl"}]},
        "training": {"sequenceLength": 256},
        "output": {"uri": f"file://{home}/output"},
    }
    for name, value in spec.items():
        given[name] = given.get(name, {}) | value if isinstance(value, Mapping) else value
    job = make_job(**given)
    return Snapshot(name="triage", namespace="ml", uid="u", stage=Stage.PREPARE, attempt=1, spec=job.spec)
