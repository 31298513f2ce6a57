"""The list of rows that were left out and why: nothing is dropped silently."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shutil import copyfileobj
from types import TracebackType
from typing import Final, Self, TextIO

from finetune_trainer.prepare.read import place

REJECTED_FILE: Final = "rejected.jsonl"
REMOVED_FILE: Final = "removed.jsonl"

_PLACES = 10


class Rejection(StrEnum):
    """What is wrong with a row."""

    UNREADABLE = "Unreadable"
    """No row can be made of what stands there."""
    INVALID = "Invalid"
    """The task can make nothing of it."""
    TOO_LONG = "TooLong"
    """It does not fit `spec.training.sequenceLength`."""


class Removal(StrEnum):
    """Why a good row is not needed."""

    EMPTY = "Empty"
    DUPLICATE = "Duplicate"
    """Its texts are those of an earlier row."""
    NEAR_DUPLICATE = "NearDuplicate"
    """Its words are nearly those of an earlier row."""
    CONTAMINATED = "Contaminated"
    """What is measured with would measure memory: train quotes this row, or it quotes a benchmark."""
    CONFLICTING = "Conflicting"
    """Other rows with the same text have other labels, and they are as many or more."""
    FILTERED = "Filtered"
    """`spec.data.cleaning` leaves it out: its length, or its language."""


@dataclass(frozen=True)
class LeftOut:
    """A closed ledger, of some of the rows."""

    folder: Path
    """Of its two files."""
    rejected: Counter[Rejection]
    removed: Counter[Removal]
    places: list[str]


class Ledger:
    """Writes rejected.jsonl and removed.jsonl as rows are left out; keeps counts and the first places only."""

    def __init__(self, folder: Path, sources: tuple[str, ...]) -> None:
        self.rejected: Counter[Rejection] = Counter()
        self.removed: Counter[Removal] = Counter()
        self.places: list[str] = []
        self._folder = folder
        self.sources = sources
        self._rejected_file = (folder / REJECTED_FILE).open("w", encoding="utf-8")
        self._removed_file = (folder / REMOVED_FILE).open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rejected_file.close()
        self._removed_file.close()

    def left_out(self) -> LeftOut:
        """What it holds, for another one to take in; ends it."""
        self._rejected_file.close()
        self._removed_file.close()
        return LeftOut(self._folder, self.rejected, self.removed, self.places)

    def take(self, part: LeftOut) -> None:
        """Behind what is here; its files are used up."""
        self.rejected.update(part.rejected)
        self.removed.update(part.removed)
        self.places += part.places[: _PLACES - len(self.places)]
        for file, name in ((self._rejected_file, REJECTED_FILE), (self._removed_file, REMOVED_FILE)):
            with (part.folder / name).open(encoding="utf-8") as lines:
                copyfileobj(lines, file)
            (part.folder / name).unlink()

    def reject(self, source: int, line: int, kind: Rejection, reason: str, *, field: str | None = None) -> None:
        """The row is wrong, for this reason; `field` is the row's own, None where it is wrong as a whole."""
        uri = self.sources[source]
        self.rejected[kind] += 1
        if len(self.places) < _PLACES:
            self.places.append(place(uri, line))
        _write(self._rejected_file, source=uri, line=line, kind=kind, field=field, reason=reason)

    def remove(
        self, source: int, line: int, kind: Removal, *, kept: str | None = None, reason: str | None = None
    ) -> None:
        """The row is not needed; `kept` is the place of the one that stands for it."""
        self.removed[kind] += 1
        entry = {"source": self.sources[source], "line": line, "kind": kind, "kept": kept, "reason": reason}
        _write(self._removed_file, **{name: value for name, value in entry.items() if value is not None})


def _write(file: TextIO, **entry: object) -> None:
    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
