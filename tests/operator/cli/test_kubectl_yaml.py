from __future__ import annotations

import pytest

from finetune_operator.cli.kubectl_yaml import Document, Flaw, read_documents
from scalars import REFUSED, SCALARS


def _read(text: str) -> Document:
    (document,), flaws = read_documents(text)
    assert flaws == []
    return document


def _flaws(text: str) -> list[Flaw]:
    return read_documents(text)[1]


@pytest.mark.parametrize("scalar", [scalar for scalar, value in SCALARS.items() if value is not REFUSED])
def test_a_scalar_is_what_kubectl_makes_of_it(scalar: str) -> None:
    value = _read(f"field: {scalar}\n").value["field"]
    assert (value, type(value)) == (SCALARS[scalar], type(SCALARS[scalar]))


@pytest.mark.parametrize("scalar", [scalar for scalar, value in SCALARS.items() if value is REFUSED])
def test_what_kubectl_refuses_is_a_flaw_on_its_line(scalar: str) -> None:
    assert [flaw.line for flaw in _flaws(f"first: 1\nfield: {scalar}\n")] == [2]


def test_keys_are_text() -> None:
    assert _read("{1: a, on: b, 1.50: c, 0x10: d}").value == {"1": "a", "true": "b", "1.5": "c", "16": "d"}


@pytest.mark.parametrize("key", ["~", "[a, b]", "{a: b}"])
def test_a_key_that_is_not_text_is_a_flaw(key: str) -> None:
    assert _flaws(f"above:\n  ? {key}\n  : value\n") == [Flaw(2, ("above",), "has a key that is not text")]


def test_a_key_given_twice_is_a_flaw_although_kubectl_takes_the_last() -> None:
    document, flaws = read_documents("spec:\n  suspend: true\n  cancel: false\n  suspend: false\n")
    assert flaws == [Flaw(4, ("spec", "suspend"), "is given twice, first on line 2")]
    assert document[0].value == {"spec": {"suspend": False, "cancel": False}}


def test_merged_keys_give_way_to_those_that_stand_there() -> None:
    text = "base: &base {a: 1, b: 1}\nother: &other {b: 2, c: 2}\njob: {<<: [*base, *other], a: 3}\n"
    assert _read(text).value["job"] == {"a": 3, "b": 1, "c": 2}


def test_only_mappings_are_merged() -> None:
    assert [flaw.message for flaw in _flaws("job: {<<: text}\n")] == ["'<<' takes a mapping, or a list of mappings"]


def test_empty_documents_are_passed_over() -> None:
    documents, flaws = read_documents("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n")
    assert ([document.value for document in documents], flaws) == ([{"a": 1}, {"b": 2}], [])


def test_every_field_has_its_line_and_an_absent_one_that_of_what_holds_it() -> None:
    document = _read("spec:\n  data:\n    sources:\n      - uri: a\n      - uri: b\n  suspend: true\n")
    lines = {
        ("spec", "data", "sources", 1, "uri"): 5,
        ("spec", "data", "sources", 1, "format"): 5,
        ("spec", "data", "split", "seed"): 2,
        ("spec", "suspend"): 6,
        ("status",): 1,
    }
    assert {path: document.line(path) for path in lines} == lines


def test_broken_yaml_names_the_line() -> None:
    (flaw,) = _flaws("a: 1\nb: [1, 2\nc: 3\n")
    assert flaw.line == 3 and flaw.message.startswith("is not YAML: ")


def test_a_character_that_yaml_forbids_is_a_flaw() -> None:
    (flaw,) = _flaws("a: \x07\n")
    assert flaw.message.startswith("is not YAML: ")


def test_a_tag_of_another_program_is_a_flaw() -> None:
    assert _flaws("a: !!python/object:os.system x\n") == [
        Flaw(1, ("a",), "has the tag tag:yaml.org,2002:python/object:os.system: leave it out")
    ]


def test_a_small_file_that_stands_for_a_huge_one_is_a_flaw() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert _flaws("\n".join(levels)) == [Flaw(1, (), "stands for more than 100000 values")]


@pytest.mark.parametrize("text", ["[" * 5000, "a: &a [*a]"])
def test_nesting_without_end_is_a_flaw(text: str) -> None:
    assert _flaws(text) == [Flaw(1, (), "is nested too deeply")]
