from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pytest
from pydantic import ValidationError

from finetune_api.model import Model
from finetune_api.rules import NotPortable, Rule, keys_matching, keys_not_starting, matching, portable, union


class Kind(StrEnum):
    FILE = "File"
    NET = "Net"


class Target(Model):
    type: Kind
    file: str | None = None
    net: str | None = None

    rules = union({Kind.FILE: "file", Kind.NET: "net"})


class Range(Model):
    low: int = 0
    high: int = 9

    rules = (
        Rule("self.low >= 0", "must not be negative", lambda limits: limits.low >= 0, "low"),
        Rule("self.low <= self.high", "must have low below high", lambda limits: limits.low <= limits.high),
    )


class Holder(Model):
    range: Range = Range()
    letter: Annotated[str, matching("[a-z]|[A-Z]", "must be a letter")] = "a"


def _errors(model: type[Model], body: dict[str, object]) -> list[tuple[tuple[int | str, ...], str, str]]:
    with pytest.raises(ValidationError) as refused:
        model.parse(body)
    return [(error["loc"], error["type"], error["msg"]) for error in refused.value.errors()]


def test_every_broken_rule_of_a_model_is_told_where_it_is_to_be_changed() -> None:
    assert _errors(Holder, {"range": {"low": -1, "high": -2}}) == [
        (("range", "low"), "rule", "must not be negative"),
        (("range",), "rule", "must have low below high"),
    ]


def test_a_rule_about_a_value_stands_beside_its_type() -> None:
    assert _errors(Holder, {"letter": "1"}) == [(("letter",), "rule", "must be a letter")]


@pytest.mark.parametrize("text", ["", "ab", "a\n", "\na", "ä"])
def test_the_whole_string_must_match(text: str) -> None:
    assert not matching("[a-z]|[A-Z]", "").holds(text)


def test_alternatives_are_bound_together_in_cel() -> None:
    assert matching(r"a|\.", "m").to_cel() == {"rule": 'self.matches("^(a|\\\\.)$")', "message": "m"}


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ({"type": "File"}, ""),
        ({"type": "File", "file": "a"}, ""),
        ({"type": "Net", "net": "a"}, ""),
        ({"type": "File", "net": "a"}, "net"),
        ({"type": "Net", "net": "a", "file": "b"}, "file"),
    ],
)
def test_of_a_union_only_the_member_of_the_type_may_be_there(target: dict[str, object], wrong: str) -> None:
    if not wrong:
        Target.parse(target)
        return
    assert [(where, says[:11]) for where, _, says in _errors(Target, target)] == [((wrong,), "is only for")]


def test_the_rules_of_a_union_name_type_and_member() -> None:
    assert [rule.to_cel() for rule in Target.rules] == [
        {"rule": '!has(self.file) || self.type == "File"', "message": "is only for type File", "fieldPath": ".file"},
        {"rule": '!has(self.net) || self.type == "Net"', "message": "is only for type Net", "fieldPath": ".net"},
    ]


def test_keys_of_maps() -> None:
    lower = keys_matching("[a-z]+", max_length=3, message="")
    assert [lower.holds({key: ""}) for key in ("a", "abc", "abcd", "A", "")] == [True, True, False, False, False]
    foreign = keys_not_starting("x/", "y")
    assert [foreign.holds({"a": "", key: ""}) for key in ("b", "x", "x/", "x/a", "yes")] == [True, True, *[False] * 3]


@pytest.mark.parametrize(
    "pattern", [r"(?=a)a", r"(?<!a)b", r"(?i)a", r"\d+", r"\w", r"[\s]", r"(a)\1", r"\bword\b", r"\Z"]
)
def test_an_expression_that_engines_read_differently_is_refused(pattern: str) -> None:
    with pytest.raises(NotPortable, match="spell out the characters"):
        matching(pattern, "")


@pytest.mark.parametrize("pattern", [r"^[a-z]{1,3}$", r"(?:a|b)\.", r"[^\x00-\x1f\\]", r"\*"])
def test_what_every_engine_reads_alike_is_taken(pattern: str) -> None:
    assert portable(pattern) == pattern
