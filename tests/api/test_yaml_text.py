from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_api.yaml_text import to_yaml
from finetune_operator.cli.kubectl_yaml import read_documents


def _may_stand_in_yaml(character: str) -> bool:
    return json.dumps(character, ensure_ascii=False).isprintable()


_TEXT = st.text(st.characters(exclude_categories=["Cs"]).filter(_may_stand_in_yaml))
# Whole numbers as a float are left out: as JSON they are the same as integers, and kubectl makes integers of them.
_FRACTIONS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _FRACTIONS | _TEXT
_KEYS = st.sampled_from(["on", "a", "b c", "1", "x-y", "null"])
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=12)


@given(st.dictionaries(_KEYS, _VALUES, min_size=1))
@example({"a": 1e-9})
@example({"a": [[1], [], {}, [{"b": [None]}]]})
@example({"a": 'line\nline\t"quoted" \\ \0', "b c": "- x", "null": "#"})
def test_every_reader_gets_back_what_was_written(value: dict[str, Any]) -> None:
    text = to_yaml(value)
    assert yaml.safe_load(text) == value
    (document,), flaws = read_documents(text)
    assert (document.value, flaws) == (value, [])


def test_it_reads_well() -> None:
    value = {
        "kind": "Job",
        "spec": {"names": ["a", "yes"], "deep": [{"x": 1, "at": {"z": 0.5}}], "empty": {}, "no": []},
    }
    assert (
        to_yaml(value)
        == """\
kind: Job
spec:
  names:
    - a
    - "yes"
  deep:
    - x: 1
      at:
        z: 0.5
  empty: {}
  "no": []
"""
    )


@pytest.mark.parametrize("text", ["", "yes", "1", "2e-4", "a: b", "x #y", "é", "two words", ".5", "~"])
def test_text_that_could_be_something_else_is_quoted(text: str) -> None:
    assert to_yaml({"a": text}) == f'a: "{text}"\n'


@pytest.mark.parametrize("text", ["\x7f", "\x85", "\u2028", "\ufeff", "\ud800"])
def test_text_that_yaml_forbids_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="YAML forbids"):
        to_yaml({"a": text})
