"""Each repair mends its own damage, and harms nothing else."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.spec import Cleaning
from finetune_trainer.prepare.clean import Repair, clean_messages, clean_text, wanted
from finetune_trainer.tokenizers import Message

ALL = wanted(Cleaning())
DAMAGE = {
    Repair.BYTE_ORDER_MARKS: ("\ufefftext \ufeff inside", "text \ufeff inside"),
    Repair.LINE_ENDINGS: ("one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
    Repair.CONTROL_CHARACTERS: ("Py\x00th\x1bon\tis\x7f fine\n", "Python\tis fine\n"),
    Repair.TRAILING_BLANKS: ("\n \n  code  \n\n  more\t\n\n\t\n", "  code\n\n  more\n"),
}
# Scripts that popular cleaners break: zero-width joiners, combining marks, full width, ligatures, French quotes.
FRAGILE = (
    "می‌خواهم",
    "ශ්‍රී",
    "👨‍👩‍👧‍👦",
    "क़",
    "שּׁ",
    "각",
    "ＡＢＣ",
    "« bonjour »",
    "ﬁne",
    "a\u00a0b\u2028c\u0085d",
    "e\u0301",
    "<b>tags</b> &amp; entities",
    "  indented",
    "ends with one line feed\n",
    "| a  |  b |",
)


def test_the_names_of_the_repairs_are_those_of_the_spec() -> None:
    assert sorted(str(repair.name).lower() for repair in Repair if repair) == sorted(Cleaning.model_fields)


@pytest.mark.parametrize("repair", DAMAGE)
def test_a_repair_mends_its_damage_and_says_so(repair: Repair) -> None:
    damaged, mended = DAMAGE[repair]
    assert clean_text(damaged, ALL) == (mended, repair)


@pytest.mark.parametrize("repair", DAMAGE)
def test_a_repair_that_is_switched_off_leaves_its_damage(repair: Repair) -> None:
    damaged, _ = DAMAGE[repair]
    others = wanted(Cleaning(**{str(repair.name).lower(): False}))
    assert clean_text(damaged, others) == (damaged, Repair.NONE)


@pytest.mark.parametrize("text", FRAGILE)
def test_text_of_any_script_is_left_alone(text: str) -> None:
    assert clean_text(text, ALL) == (text, Repair.NONE)


@given(st.text(alphabet=st.sampled_from("ab \t\n\r\x00\ufeffé")))
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once, _ = clean_text(text, ALL)
    assert clean_text(once, ALL) == (once, Repair.NONE)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff ")))
def test_text_without_damage_comes_out_byte_for_byte(text: str) -> None:
    assert clean_text(text, ALL) == (text, Repair.NONE)


def test_the_whole_standard_library_comes_out_byte_for_byte() -> None:
    """Real text: each file, and each of its paragraphs, that shows none of the damage, found by other means."""
    checked = 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        source = file.read_bytes().decode("utf-8", errors="replace")
        for text in (source, *source.split("\n\n")):
            lines = text.split("\n")
            if lines[0] and not any(map(damaged, lines)) and not text.endswith("\n\n"):
                assert clean_text(text, ALL) == (text, Repair.NONE), file.name
                checked += 1
    assert checked > 10_000


def damaged(line: str) -> bool:
    return line != line.rstrip() or not line.isprintable()


def test_all_texts_of_a_row_are_cleaned_and_a_clean_row_is_the_same_object() -> None:
    clean = (Message("user", "a"), Message("assistant", "b"))
    assert clean_messages(clean, ALL)[0] is clean
    dirty = (Message("user", "a\r\n"), Message("assistant", "b\x00"))
    assert clean_messages(dirty, ALL) == (
        (Message("user", "a\n"), Message("assistant", "b")),
        Repair.LINE_ENDINGS | Repair.CONTROL_CHARACTERS,
    )


def test_a_long_run_of_blanks_takes_linear_time() -> None:
    text = (" " * 200_000 + "x") * 5 + " " * 200_000
    assert clean_text(text, ALL) == (text.rstrip(), Repair.TRAILING_BLANKS)
