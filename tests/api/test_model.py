from __future__ import annotations

from enum import StrEnum

import pytest
from pydantic import ValidationError

from finetune_api.model import Model


class Size(StrEnum):
    LARGE = "Large"


class Part(Model):
    unit_count: int


class Whole(Model):
    parts: tuple[Part, ...] = ()
    size: Size | None = None
    wheel_size: float = 1.0


def test_wire_names_are_in_camel_case_and_absent_fields_are_left_out() -> None:
    whole = Whole(parts=(Part(unit_count=1),), wheel_size=2.0)
    assert whole.to_json() == {"parts": [{"unitCount": 1}], "wheelSize": 2.0}
    assert Whole.parse(whole.to_json()) == whole


def test_json_values_become_enums_and_tuples() -> None:
    assert Whole.parse({"size": "Large", "parts": [{"unitCount": 2}]}) == Whole(
        size=Size.LARGE, parts=(Part(unit_count=2),)
    )


@pytest.mark.parametrize(
    "body",
    [
        {"wheel_size": 1.0},
        {"wheelSize": "1"},
        {"parts": [{"unitCount": True}]},
        {"parts": [{"unitCount": 1.5}]},
        {"x": 1},
    ],
)
def test_nothing_is_guessed(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Whole.parse(body)


def test_an_older_reader_survives_new_fields() -> None:
    assert Whole.parse({"parts": [{"unitCount": 1, "new": 2}], "new": {}}, ignore_unknown=True) == Whole(
        parts=(Part(unit_count=1),)
    )


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Part(unit_count=1).unit_count = 2
