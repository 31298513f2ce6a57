"""Parts of texts for people."""

from __future__ import annotations

from finetune_trainer.prepare.excerpt import LONGEST, around_change, beginning, conversation
from finetune_trainer.tokenizers import Message


def test_short_texts_stay_whole() -> None:
    assert beginning("abc") == "abc"
    assert around_change("Say\r\nhello\x00", "Say\nhello") == ("Say\r\nhello\x00", "Say\nhello")


def test_of_long_texts_the_part_with_the_change_is_shown() -> None:
    before, after = around_change("a" * 5000 + "X" + "b" * 5000, "a" * 5000 + "b" * 5000)

    assert before == "…" + "a" * 60 + "X" + "b" * 60 + "…"
    assert after == "…" + "a" * 60 + "b" * 60 + "…"


def test_changes_all_over_are_cut() -> None:
    before, after = around_change("a\r\n" * 1000, "a\n" * 1000)

    assert len(before) == len(after) == LONGEST + 1


def test_a_megabyte_is_cut_as_quickly_as_a_line() -> None:
    text = "word " * 200_000

    assert around_change(text + "\x00", text) == ("…" + text[-60:] + "\x00", "…" + text[-60:])


def test_a_conversation_shows_who_says_what() -> None:
    turns = tuple(Message(role, role * 500) for role in ("system", "user", "assistant", "user", "assistant"))

    shown = conversation(turns)

    assert shown.startswith("system: systemsystem")
    assert shown.endswith("\n…")
    assert len(shown) < 1300
