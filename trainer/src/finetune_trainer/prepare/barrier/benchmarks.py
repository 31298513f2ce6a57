"""Texts of benchmark rows, whatever shape these have: a benchmark is not trained on, so nothing needs to be mapped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.barrier.grams import GRAM_WORDS
from finetune_trainer.prepare.read import Notes, RawObject, RawRow, read_rows
from finetune_trainer.prepare.unchanged import opened
from finetune_trainer.storage import Storage

FIELD: Final = "spec.data.decontamination.benchmarks"
_LONG_ENOUGH: Final = re.compile(rf"[\0- ]*+(?:[^\0- ]++[\0- ]++){{{GRAM_WORDS - 1}}}[^\0- ]")
"""Words as in prepare.words."""


def benchmark_rows(storage: Storage, objects: Sequence[RawObject], scratch: Path) -> Iterator[list[str]]:
    """The texts by which rows that quote it are found, of each row; none of one that is too short or unreadable.

    Each string by itself, for a question can be quoted without its explanation; where all are short, all in one.
    `scratch` is a local folder. Raises StageFailed, naming the benchmark in which nothing can be read.
    """
    read: Counter[str] = Counter()
    for raw in objects:
        with opened(storage, raw) as stream:
            for row in read_rows(stream, raw, scratch=scratch, notes=Notes()):
                texts = list(_strings(row.fields)) if isinstance(row, RawRow) else []
                read[raw.field] += isinstance(row, RawRow)
                yield _long_ones(texts) or _long_ones(["\n".join(texts)])
    for raw in objects:
        if not read[raw.field]:
            message = f"{raw.field}: no row can be read in {raw.uri}"
            raise StageFailed(ExitCode.MISMATCH, "NoRows", message, field=raw.field)


def _long_ones(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if _LONG_ENOUGH.match(text)]


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
