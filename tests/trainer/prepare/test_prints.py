"""Fingerprints of rows: what they equal and what they are like."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.prepare.prints import PRINT, band_keys, content_key, has_sketch, prints_of, resemble
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message, ToolCall

STORY = " ".join(f"word{number}" for number in range(60))


def turns(prompt: str, answer: str = "yes") -> Messages:
    return (Message("user", prompt), Message("assistant", answer))


def test_a_fingerprint_is_no_more_than_64_bytes() -> None:
    assert PRINT.itemsize == 64


def test_rows_that_differ_in_composition_or_outer_white_space_are_the_same() -> None:
    assert content_key(turns("caf\u00e9?")) == content_key(turns(" cafe\u0301?\n"))


def test_rows_that_differ_in_anything_else_are_not() -> None:
    rows = [
        turns("Cafe?"),
        turns("cafe?"),
        turns("ca fe?"),
        turns("cafe?", "no"),
        turns("cafe?y", "es"),
        (*turns("cafe?"), *turns("cafe?")),
        (Message("system", "cafe?"), *turns("cafe?")),
        (Message("assistant", "cafe?"), Message("user", "yes")),
        (Message("text", "cafe?"),),
    ]
    assert len({content_key(row) for row in rows}) == len(rows)


def test_the_first_half_of_the_key_is_what_is_asked() -> None:
    one, other = content_key(turns("Why?", "Because.")), content_key(turns("Why?", "No."))
    assert one[:8] == other[:8]
    assert one[8:] != other[8:]


def test_short_rows_are_like_nothing() -> None:
    words = " ".join(["word"] * 18)
    prints = prints_of([turns(words, "one"), turns(words, "one two")])
    assert has_sketch(prints).tolist() == [False, True]


def test_system_prompts_and_tool_results_count_for_nothing() -> None:
    rows: list[Messages] = [
        (Message("system", system), Message("user", STORY), Message("tool", tool), Message("assistant", "yes"))
        for system, tool in [("Be brief.", "42"), ("You are a helpful assistant with many words.", STORY)]
    ]
    left, right = prints_of(rows)
    assert (left["sketch"] == right["sketch"]).all()
    assert (left["bands"] == right["bands"]).all()
    assert (left["content"] != right["content"]).any()


def test_case_and_white_space_make_no_other_words() -> None:
    left, right = prints_of([turns(STORY), turns(STORY.upper().replace(" ", "\n\t"))])
    assert (left["sketch"] == right["sketch"]).all()


def test_a_row_resembles_its_edited_copy_and_no_other_row() -> None:
    edited = STORY.replace("word30", "changed")
    other = STORY.replace("word", "term")
    prints = prints_of([turns(STORY), turns(edited), turns(other)])
    sketches = prints["sketch"]
    assert resemble(sketches[:1].repeat(2, axis=0), sketches[1:]).tolist() == [True, False]
    keys = band_keys(prints)
    assert (keys[0] == keys[1]).any()
    assert not (keys[0] == keys[2]).any()


def test_the_fingerprint_never_changes_between_releases() -> None:
    """It decides which rows are kept: whoever changes it raises the format of prepared data."""
    (found,) = prints_of([turns(STORY)])
    assert found["content"].tolist() == EXPECTED_CONTENT
    assert found["sketch"].tolist() == EXPECTED_SKETCH
    assert band_keys(found.reshape(1))[0, :4].tolist() == EXPECTED_BANDS


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=300))
def test_a_fingerprint_does_not_depend_on_the_rows_beside_it(lengths: list[int]) -> None:
    rows = [turns(" ".join(STORY.split()[:length])) for length in lengths]
    together = prints_of(rows)
    assert together.dtype == PRINT
    assert together.tobytes() == b"".join(prints_of([row]).tobytes() for row in rows)
    assert has_sketch(together).tolist() == [length + 1 >= 20 for length in lengths]


EXPECTED_CONTENT = [17292594510937100446, 792092084170026047]
EXPECTED_SKETCH = [12814604881830272871, 16896399975595769053]
EXPECTED_BANDS = [31847, 18335455, 42452090, 59511246]


def test_bits_of_unlike_rows_agree_by_half() -> None:
    rows = [turns(" ".join(f"w{seed}x{number}" for number in range(40))) for seed in range(200)]
    sketches = prints_of(rows)["sketch"]
    differing = np.bitwise_count(sketches[:-1] ^ sketches[1:]).sum(axis=1)
    assert 60 < differing.mean() < 68


def test_calls_are_texts_and_their_ids_are_not() -> None:
    def row(identity: str, name: str = "f", arguments: str = "{}") -> Messages:
        call = Message("assistant", "", (ToolCall(identity, name, arguments),))
        return (*turns(STORY)[:1], call, Message("tool", "1", call_id=identity), Message("assistant", "yes"))

    assert content_key(row("call_1")) == content_key(row("call_2"))
    rows = [row("call_1"), row("call_1", "g"), row("call_1", "f", '{"a": 1}'), turns(STORY)]
    assert len({content_key(one) for one in rows}) == len(rows)
    left, right = prints_of([row("call_1"), row("call_1", "f", json.dumps({"a": STORY.replace("word", "term")}))])
    assert not resemble(left["sketch"][None], right["sketch"][None])[0]
