"""Why rows were left out, read back from the lists of them: by reason, with the first places of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from finetune_trainer.pages.shown import ELLIPSIS
from finetune_trainer.prepare.excerpt import beginning
from finetune_trainer.prepare.read import place
from finetune_trainer.prepare.report.model import LeftOut

MOST_REASONS: Final = 50
"""Of one list; what is not among the first so many that were met goes under `other reasons`."""
_MOST_PLACES: Final = 3
_LONGEST_REASON: Final = 200
_DIFFERS: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_OTHER: Final = "other reasons"


@dataclass
class _Group:
    reason: str
    """Of the first row."""
    parts: list[str]
    """What of it may differ in others; an ellipsis where it does."""
    rows: int = 0
    places: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def told(self) -> str:
        parts = iter(self.parts)
        return _DIFFERS.sub(lambda _: next(parts), self.reason)


def reasons_in(path: Path) -> tuple[LeftOut, ...]:
    """Of rejected.jsonl or removed.jsonl, the most frequent first. Reads it once, a line at a time."""
    groups: dict[tuple[str, str, int], _Group] = {}
    for entry in _entries(path):
        kind, reason = entry["kind"], beginning(entry.get("reason", ""), _LONGEST_REASON)
        parts = _DIFFERS.findall(reason)
        alike = (kind, _DIFFERS.sub(ELLIPSIS, reason), len(parts))
        if alike not in groups and len(groups) >= MOST_REASONS:
            reason, parts, alike = _OTHER, [], (kind, _OTHER, 0)
        group = groups.setdefault(alike, _Group(reason, parts))
        group.rows += 1
        if group.parts != parts:
            group.parts = [one if one == other else ELLIPSIS for one, other in zip(group.parts, parts, strict=True)]
        if len(group.places) < _MOST_PLACES:
            group.places.append(place(entry["source"], entry["line"]))
            if "kept" in entry:
                group.kept.append(entry["kept"])
    ordered = sorted(groups.items(), key=lambda item: (-item[1].rows, item[0]))
    return tuple(
        LeftOut(kind=kind, reason=group.told(), rows=group.rows, places=tuple(group.places), kept=tuple(group.kept))
        for (kind, _, _), group in ordered
    )


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
