"""What a label is: how the values of raw rows become labels, which of them are one, and which there may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from finetune_api.spec import ClassificationTask
from finetune_trainer.tasks.rows import InvalidRow, text_of

LABEL: Final = "label"
"""Role of the messages of a row that are its labels."""
LONGEST_LABEL: Final = 128
"""Characters. What is longer is a text."""

_SPEC: Final = "spec.task.classification"


class LabelRules:
    """What the spec says of labels. Labels are one where their keys are."""

    def __init__(self, settings: ClassificationTask) -> None:
        self._settings = settings

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several labels, or none."""
        return self._settings.multi_label

    @property
    def field(self) -> str:
        """The field of the spec to change where labels are not what they should be."""
        return f"{_SPEC}.labelField"

    def read(self, value: object, name: str) -> tuple[str, ...]:
        """The labels that stand in the row's field `name`, in no order. Raises InvalidRow."""
        settings = self._settings
        if isinstance(value, str) and settings.label_delimiter is not None:
            values: list[object] = [part for text in value.split(settings.label_delimiter) if (part := text.strip())]
        elif isinstance(value, list):
            values = value
        elif settings.multi_label and value == "":  # of a table, where nothing else can say that there are none
            values = []
        else:
            values = [value]
        if not settings.multi_label and len(values) != 1:
            raise InvalidRow(
                f"{name} holds {len(values)} labels, and without {_SPEC}.multiLabel a row has one", field=name
            )
        return tuple(sorted({_label(one, name) for one in values}))

    def check(self, label: str, name: str) -> None:
        """The cleaned label of the field `name` is one that there may be. Raises InvalidRow."""
        if not label.strip():
            raise InvalidRow("empty label", field=name)
        if len(label) > LONGEST_LABEL:
            raise InvalidRow(f"{name} has {len(label)} characters: a text, not a label", field=name)
        if self._settings.labels is not None and self.key(label) not in self.fixed:
            raise InvalidRow(f"the label {label!r} is none of {_SPEC}.labels", field=name)

    def key(self, label: str) -> str:
        """What the label is told from others by."""
        return self._folded(self._mapped.get(self._folded(label), label))

    @cached_property
    def fixed(self) -> Mapping[str, str]:
        """How labels are written that the spec names, by their keys; others are as most rows have it."""
        named = (*self._settings.label_mapping.values(), *(self._settings.labels or ()))
        return {self._folded(label): label for label in named}

    def names(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """All labels, in the order of their ids, when these occur."""
        if self._settings.labels is None:
            return tuple(sorted(found))
        return tuple(dict.fromkeys(self.fixed[self.key(label)] for label in self._settings.labels))

    @cached_property
    def _mapped(self) -> Mapping[str, str]:
        return {self._folded(label): other for label, other in self._settings.label_mapping.items()}

    def _folded(self, label: str) -> str:
        return " ".join(label.casefold().split()) if self._settings.label_spelling else label


def _label(value: object, name: str) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isnan(value):
            raise InvalidRow(f"{name} is not a number, as tables say that it is missing", field=name)
        case float() if value.is_integer():
            return str(int(value))
        case float():
            raise InvalidRow(f"{name} is the number {value}, not a label", field=name)
        case str() if value.startswith("[") and value.endswith("]"):
            raise InvalidRow(f"{name} is a list written as text", field=name)
    return text_of(value, name)
