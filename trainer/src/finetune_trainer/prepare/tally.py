"""What is counted while raw rows are read, of one object or of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_trainer.prepare.clean import Cleaner
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.prepare.excerpt import around_change
from finetune_trainer.prepare.read import Encoding
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tasks.shapes import Shape

_EXAMPLES = 3
_FIELD_NAMES = 20
_NAME_CHARACTERS = 64
"""A longer one is no name but data, as where a table has no header, and stays out of messages."""


@dataclass
class Tally:
    """Of one object, or of all."""

    rows: int = 0
    """Rows of any kind; blank lines are none."""
    parsed: int = 0
    """Those that can be read."""
    grouped: int = 0
    """Those of them that have the field of `spec.data.split.groupBy`."""
    absent: Counter[str] = field(default_factory=Counter)
    """Rows that do not have the field which this field of the spec maps."""
    field_names: set[str] = field(default_factory=set)
    """The first names that were met."""
    shapes: Counter[Shape] = field(default_factory=Counter)
    """Rows that could be read, by what they look like."""
    encodings: Counter[Encoding] = field(default_factory=Counter)
    """Files of text, by how they are written."""
    steps: Counter[Step] = field(default_factory=Counter)
    """Rows that each step of cleaning changed."""
    examples: dict[Step, list[tuple[str, str, str]]] = field(default_factory=dict)
    """Place of a row, and parts of its text before and after, for the report."""

    def add(self, later: Tally) -> None:
        """What was counted over the objects that come next."""
        self.rows += later.rows
        self.parsed += later.parsed
        self.grouped += later.grouped
        self.absent.update(later.absent)
        self.shapes.update(later.shapes)
        self.encodings.update(later.encodings)
        self.steps.update(later.steps)
        if len(self.field_names) < _FIELD_NAMES:
            self.field_names |= later.field_names
        for step, examples in later.examples.items():
            mine = self.examples.setdefault(step, [])
            mine += examples[: _EXAMPLES - len(mine)]

    def parse(self, fields: Mapping[str, object], shape: Shape, *, grouped: bool) -> None:
        """A row could be read."""
        self.parsed += 1
        self.shapes[shape] += 1
        self.grouped += grouped
        if len(self.field_names) < _FIELD_NAMES:
            self.field_names.update(name for name in fields if len(name) <= _NAME_CHARACTERS)

    def repair(self, place: str, before: Messages, after: Messages, steps: Step, cleaner: Cleaner) -> None:
        """Cleaning changed the texts of the row at `place`."""
        self.steps.update(steps)
        if all(len(self.examples.get(step, ())) == _EXAMPLES for step in steps):
            return
        # An empty system message is left out, and only definitions of tools stand before it.
        for raw, cleaned in zip(before[len(before) - len(after) :], after, strict=True):
            if raw.role == cleaned.role and raw.content != cleaned.content:
                for step in cleaner.text(raw.content)[1] & steps:
                    examples = self.examples.setdefault(step, [])
                    if len(examples) < _EXAMPLES:
                        examples.append((place, *around_change(raw.content, cleaned.content)))
