"""Texts of benchmark rows, whatever shape these have: a benchmark is not trained on, so nothing needs to be mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.read import Notes, RawObject, RawRow, read_rows
from finetune_trainer.storage import Storage

FIELD = "spec.data.decontamination.benchmarks"


def benchmark_texts(storage: Storage, objects: Sequence[RawObject], scratch: Path) -> Iterator[str]:
    """All strings of each row that can be read, in one. `scratch` is a local folder."""
    for raw in objects:
        with blame(raw.field), storage.open(raw.uri) as stream:
            for row in read_rows(stream, raw, scratch=scratch, notes=Notes()):
                if isinstance(row, RawRow):
                    yield "\n".join(_strings(row.fields))


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for member in value.values():
                yield from _strings(member)
        case list():
            for member in value:
                yield from _strings(member)
