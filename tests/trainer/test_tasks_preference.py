"""Shapes of pairs of answers, what they must be like, and how they are linked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune_api.spec import Overlong, PreferenceTask
from finetune_trainer.tasks.preference import Preference
from finetune_trainer.tasks.rows import EmptyRow, InvalidRow, Messages, Room, TooLong
from finetune_trainer.tokenizers import Message, load
from tiny_models import TokenizerKind, write_tokenizer

TASK = Preference(PreferenceTask())


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def turns(*roles_and_contents: str) -> Messages:
    return tuple(Message(*turn.split(":", 1)) for turn in roles_and_contents)


PLAIN = turns("user:q", "assistant:good", "rejected:bad")
LONG = turns("system:s", "user:q", "assistant:a", "user:r", "assistant:good", "rejected:bad")
PROMPT = [said("system", "s"), said("user", "q"), said("assistant", "a"), said("user", "r")]
ROWS: list[tuple[PreferenceTask, dict[str, Any], Messages]] = [
    (PreferenceTask(), {"prompt": "q", "chosen": "good", "rejected": "bad", "score": 3}, PLAIN),
    (
        PreferenceTask(),
        {
            "prompt": [said("user", "q")],
            "chosen": [said("assistant", "good")],
            "rejected": [said("assistant", "bad")],
        },
        PLAIN,
    ),
    (
        PreferenceTask(),
        {"chosen": [*PROMPT, said("assistant", "good")], "rejected": [*PROMPT, said("assistant", "bad")]},
        LONG,
    ),
    (
        PreferenceTask.parse({"promptField": "ask", "chosenField": "yes", "rejectedField": "no"}),
        {"ask": "q", "yes": "good", "no": "bad"},
        PLAIN,
    ),
]


@pytest.mark.parametrize(("settings", "row", "expected"), ROWS)
def test_rows_are_a_prompt_and_two_answers(settings, row, expected) -> None:
    task = Preference(settings)
    messages = task.parse(row)
    assert messages == expected
    task.check(messages, row)
    assert task.parse(task.record(messages)) == messages
    assert task.shape(row) == "chosen and rejected"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "good", "rejected": "bad"}, "has no prompt beside chosen"),
        ({"prompt": "q", "chosen": "good"}, "has no field 'rejected'"),
        ({"prompt": "q", "chosen": "good", "rejected": None}, "rejected is null, not text"),
        (
            {
                "chosen": [said("user", "q"), said("assistant", "good")],
                "rejected": [said("user", "other"), said("assistant", "bad")],
            },
            "rejected is no other answer to the same prompt: only the last may differ",
        ),
        ({"prompt": "q", "chosen": "good", "rejected": " "}, "empty answer"),
        ({"prompt": " ", "chosen": "good", "rejected": "bad"}, "empty prompt"),
        ({"chosen": [said("user", "q")], "rejected": [said("user", "r")]}, "ends without an answer"),
    ],
)
def test_what_is_no_pair_of_answers_is_refused_with_the_field(row, reason) -> None:
    with pytest.raises(InvalidRow, match=reason):
        TASK.check(TASK.parse(row), row)


def test_from_two_equal_answers_nothing_is_learnt() -> None:
    row = {"prompt": "q", "chosen": "same", "rejected": "same"}
    with pytest.raises(EmptyRow):
        TASK.check(TASK.parse(row), row)


@pytest.mark.parametrize("kind", TokenizerKind)
def test_both_answers_are_encoded_behind_the_whole_prompt_and_linked(tmp_path: Path, kind: TokenizerKind) -> None:
    write_tokenizer(tmp_path, kind)
    tokenizer = load(tmp_path)
    messages = turns("user:hello there", "assistant:a b", "user:and now", "assistant:good", "rejected:very bad")
    (document,) = TASK.encode(messages, tokenizer)
    *prompt, chosen, rejected = messages
    first = tokenizer.encode_messages((*prompt, chosen))[-1]
    second = tokenizer.encode_messages((*prompt, rejected._replace(role="assistant")))[-1]
    assert document.encoded.ids == [*first.ids, *second.ids]
    assert document.encoded.breaks == (len(first.ids),)
    (start, end), (other, last) = document.encoded.trained
    assert document.encoded.ids[start:end] == first.ids[slice(*first.trained[-1])]
    assert document.encoded.ids[other:last] == second.ids[slice(*second.trained[-1])]
    assert (document.items, document.prompt, document.answer) == (1, "and now", "good")
    with pytest.raises(TooLong):
        TASK.shorten(messages, [document], tokenizer, Room(len(first.ids), Overlong.TRUNCATE_PROMPT))
