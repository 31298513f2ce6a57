"""Rows that do not fit: what is left out, and that no answer is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from conversations import ANSWERED, ASKED, SYSTEM, TOOLS
from finetune_api.spec import CompletionTask, InstructionTask, Overlong
from finetune_trainer.tasks.completion import Completion
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import Document, Messages, Room, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, Message, Proven, load
from tiny_models import TokenizerKind, write_tokenizer

TASK = Instruction(InstructionTask())


@pytest.fixture(scope="module", params=TokenizerKind)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, request.param)
    return Proven(load(folder))


def talk(turns: int, *, words: int = 6) -> Messages:
    return tuple(
        message
        for turn in range(turns)
        for message in (
            Message("user", " ".join(f"question{turn}" for _ in range(words))),
            Message("assistant", f"answer {turn}"),
        )
    )


def encoded(messages: Messages, tokenizer: ChatTokenizer, limit: int) -> list[Document]:
    documents = TASK.encode(messages, tokenizer)
    assert max(len(document.encoded.ids) for document in documents) > limit
    return list(TASK.shorten(messages, documents, tokenizer, Room(limit, Overlong.TRUNCATE_PROMPT)))


def learnt(documents: list[Document], tokenizer: ChatTokenizer) -> list[str]:
    return [
        tokenizer.decode(document.encoded.ids[start:end]).strip()
        for document in documents
        for start, end in document.encoded.trained
    ]


def length(messages: Messages, tokenizer: ChatTokenizer) -> int:
    return max(len(document.encoded.ids) for document in TASK.encode(messages, tokenizer))


@pytest.mark.parametrize("head", [(), (SYSTEM,)], ids=["plain", "system"])
@pytest.mark.parametrize("turns", [2, 5])
@pytest.mark.parametrize("fitting", [1, 3])
def test_every_answer_is_trained_once_in_documents_that_fit(
    tokenizer: ChatTokenizer, head: Messages, turns: int, fitting: int
) -> None:
    if fitting >= turns:
        return
    limit = length((*head, *talk(fitting)), tokenizer)
    documents = encoded((*head, *talk(turns)), tokenizer, limit)
    assert learnt(documents, tokenizer) == [f"answer {turn}" for turn in range(turns)]
    assert all(len(document.encoded.ids) <= limit and document.cut for document in documents)
    for document in documents:
        text = tokenizer.decode(document.encoded.ids)
        assert not head or SYSTEM.content.strip() in text
        assert document.prompt.split()[0] in text
        assert document.answer in text
    assert [document.answer for document in documents][-1] == f"answer {turns - 1}"
    # A document that trains several answers repeats no more than half of itself: the row costs twice its tokens.
    assert sum(len(document.encoded.ids) for document in documents) <= turns * limit


def test_the_latest_turns_that_fit_are_kept(tokenizer: ChatTokenizer) -> None:
    row = (SYSTEM, *talk(4))
    documents = encoded(row, tokenizer, length((SYSTEM, *talk(2)), tokenizer))
    last = tokenizer.decode(documents[-1].encoded.ids)
    assert "question3" in last
    assert "question0" not in last


def test_a_question_loses_its_start_and_begins_with_a_word(tokenizer: ChatTokenizer) -> None:
    question = " ".join(f"word{number}" for number in range(200))
    row = (SYSTEM, Message("user", question), Message("assistant", "The answer."))
    limit = length(row, tokenizer) // 2
    (document,) = encoded(row, tokenizer, limit)
    text = tokenizer.decode(document.encoded.ids)
    assert limit - 64 < len(document.encoded.ids) <= limit
    assert learnt([document], tokenizer) == ["The answer."]
    assert SYSTEM.content.strip() in text
    assert "word199" in text
    kept = text[text.index("word") :].split()[0]
    assert kept in question.split()
    assert (document.prompt, document.answer) == (question, "The answer.")


def test_an_answer_that_does_not_fit_is_never_cut(tokenizer: ChatTokenizer) -> None:
    row = (*ASKED, Message("user", "Tell me."), Message("assistant", "word " * 100))
    with pytest.raises(TooLong, match=r"tokens without its question, .* spec\.training\.sequenceLength is 60"):
        encoded(row, tokenizer, 60)


def test_where_nothing_may_be_left_out_a_long_row_is_rejected(tokenizer: ChatTokenizer) -> None:
    documents = TASK.encode(ASKED, tokenizer)
    with pytest.raises(TooLong, match=r"\d+ tokens, spec\.training\.sequenceLength is 16"):
        TASK.shorten(ASKED, documents, tokenizer, Room(16))


def test_definitions_calls_and_results_stay_with_their_turn(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TokenizerKind.MISTRAL_V3)
    tokenizer = Proven(load(tmp_path))
    row = (TOOLS, *talk(6), *ANSWERED)
    limit = length((TOOLS, *ANSWERED), tokenizer) + 5
    documents = encoded(row, tokenizer, limit)
    assert len(learnt(documents, tokenizer)) == 8
    assert all(len(document.encoded.ids) <= limit for document in documents)
    assert all('"name": "time"' in tokenizer.decode(document.encoded.ids) for document in documents)
    assert '"rain": true' in tokenizer.decode(documents[-1].encoded.ids)


def test_a_document_is_trained_in_pieces_each_token_once(tokenizer: ChatTokenizer) -> None:
    task = Completion(CompletionTask())
    row = (Message("text", " ".join(f"word{number}" for number in range(100))),)
    (whole,) = task.encode(row, tokenizer)
    for limit in (16, 17, len(whole.encoded.ids) - 1):
        pieces = task.shorten(row, [whole], tokenizer, Room(limit))
        learnt_ids = [number for piece in pieces for number in piece.encoded.ids[piece.encoded.trained[0][0] :]]
        assert learnt_ids == whole.encoded.ids[whole.encoded.trained[0][0] :]
        assert all(1 < len(piece.encoded.ids) <= limit and not piece.cut for piece in pieces)
        for before, after in pairwise(pieces):
            assert before.encoded.ids[-1] == after.encoded.ids[0]
