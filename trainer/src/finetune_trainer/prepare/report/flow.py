"""Rows through each step of preparation, drawn as what is left of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finetune_trainer.pages.bars import Part, bar
from finetune_trainer.prepare.ledger import Rejection, Removal
from finetune_trainer.prepare.report.model import Figures
from finetune_trainer.prepare.report.verdict import percent


@dataclass(frozen=True)
class Stage:
    """One step, and how many rows end there."""

    name: str
    lost: tuple[tuple[str, int], ...]
    """Why, and how many."""

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.lost)


def stages(figures: Figures) -> Iterator[Stage]:
    """In the order of preparation."""
    rejected, removed = figures.rejected, figures.removed
    yield Stage("Parsed", (("unreadable", rejected.get(Rejection.UNREADABLE, 0)),))
    yield Stage("Valid", (("invalid", rejected.get(Rejection.INVALID, 0)), ("empty", removed.get(Removal.EMPTY, 0))))
    yield Stage("Cleaned and filtered", (("filtered", removed.get(Removal.FILTERED, 0)),))
    yield Stage(
        "Deduplicated",
        (
            ("exact repeats", removed.get(Removal.DUPLICATE, 0)),
            ("near repeats", removed.get(Removal.NEAR_DUPLICATE, 0)),
            ("conflicting labels", removed.get(Removal.CONFLICTING, 0)),
        ),
    )
    yield Stage("Decontaminated", (("quoted or quoting", removed.get(Removal.CONTAMINATED, 0)),))
    yield Stage("Encoded", (("too long", rejected.get(Rejection.TOO_LONG, 0)),))


def flow(figures: Figures) -> str:
    """Each step with a bar: what goes on, and what ends there."""
    summary = figures.summary
    left = read = summary.rows_read
    items = [_item("Read", left, "", bar([Part("train", left, "read")], read, label=f"{read:,} rows read"))]
    for stage in stages(figures):
        left -= stage.rows
        lost = [f"{rows:,} {name}" for name, rows in stage.lost if rows]
        drawn = bar(
            [Part("train", left, "go on"), Part("lost", stage.rows, ", ".join(lost))],
            read,
            label=f"{left:,} of {read:,} rows are left ({percent(left, read)})",
        )
        items.append(_item(stage.name, left, f"− {', '.join(lost)}" if lost else "", drawn))
    counts = (("train", summary.splits.train), ("validation", summary.splits.validation), ("test", summary.splits.test))
    parts = [Part(style, rows, name) for style, (name, rows) in zip(("train", "valid", "good"), counts, strict=True)]
    told = ", ".join(f"{rows:,} {name}" for name, rows in counts)
    items.append(_item("Split", sum(rows for _, rows in counts), told, bar(parts, read, label=told), lost=False))
    return f'<ol class="flow">{"".join(items)}</ol>'


def _item(name: str, left: int, told: str, drawn: str, *, lost: bool = True) -> str:
    style = ' class="less"' if lost else ""
    note = f"<em{style}>{told}</em>" if told else ""
    return f"<li><p><b>{name}</b> {note}<span>{left:,}</span></p>{drawn}</li>"
