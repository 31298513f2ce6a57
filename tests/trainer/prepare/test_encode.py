"""Rows to documents, documents to shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune_api.spec import InstructionTask
from finetune_trainer.prepare.encode import DocumentList, Part, SplitWriter, TooLong, encode_row
from finetune_trainer.prepared import SHARD_TOKENS, SplitFiles, Texts, open_split, row_id
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import Document, Messages
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message, NotEncodable, load
from tiny_models import TokenizerKind, write_tokenizer

TASK = Instruction(InstructionTask())
ROW = (Message("user", "What is 1 + 1?"), Message("assistant", "It is 2."))


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChatTokenizer:
    write_tokenizer(tmp_path, TokenizerKind.HUGGING_FACE)
    return load(tmp_path)


def document(length: int, *, first: int = 0) -> Document:
    ids = list(range(first, first + length))
    return Document(Encoded(ids, ((2, 4), (length - 3, length))), prompt=f"p{first}", answer=f"a{first}")


def test_a_row_that_just_fits_is_kept_and_a_longer_one_is_never_cut(tokenizer: ChatTokenizer) -> None:
    (whole,) = tokenizer.encode_messages(ROW)
    length = len(whole.ids)
    (kept,) = encode_row(ROW, task=TASK, tokenizer=tokenizer, sequence_length=length)
    assert kept == Document(whole, prompt=ROW[0].content, answer=ROW[1].content)
    with pytest.raises(TooLong, match=rf"{length} tokens, spec\.training\.sequenceLength is {length - 1}"):
        encode_row(ROW, task=TASK, tokenizer=tokenizer, sequence_length=length - 1)


def test_a_row_without_a_token_to_learn_is_no_document() -> None:
    class Deaf:
        def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> list[Document]:
            return [Document(Encoded([7], ((1, 1),)), prompt="", answer="")]

    with pytest.raises(NotEncodable, match="makes no tokens"):
        encode_row(ROW, task=Deaf(), tokenizer=None, sequence_length=16)  # type: ignore[arg-type]


def part(*rows: tuple[int, list[Document]], with_texts: bool = False) -> Part:
    documents = DocumentList(with_texts=with_texts)
    for row, of_row in rows:
        documents.add(row, of_row)
    return Part(rows=len(rows), documents=documents.to_bytes())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    writer = SplitWriter(tmp_path / "test", tmp_path)
    more = [document(8, first=100), document(12, first=200)]
    writer.add(part((row_id(0, 3), [document(10)]), (row_id(1, 1), more), with_texts=True))
    assert writer.rows == 2
    assert writer.close() == SplitFiles(documents=3, tokens=30, trained=15)
    documents = open_split(tmp_path, "test")
    assert len(documents) == 3
    assert documents.lengths.tolist() == [10, 8, 12]
    assert documents.trained.tolist() == [5, 5, 5]
    assert documents.rows.tolist() == [row_id(0, 3), row_id(1, 1), row_id(1, 1)]
    assert documents.ids(1).tolist() == list(range(100, 108))
    assert documents.mask(1).tolist() == [False, False, True, True, False, True, True, True]
    assert documents.prompt(1).tolist() == list(range(100, 105))
    assert documents.texts(2) == Texts("p200", "a200")
    assert (documents.lengths.dtype, documents.rows.dtype, documents.ids(0).dtype) == (np.int32, np.int64, np.int32)


def test_documents_are_found_over_many_shards(tmp_path: Path) -> None:
    writer = SplitWriter(tmp_path / "train", tmp_path)
    length = SHARD_TOKENS // 3 + 1
    rows = [(row, [document(length, first=row)]) for row in range(7)]
    for some in (rows[:1], rows[1:6], rows[6:]):
        writer.add(part(*some))
    writer.close()
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["00000.arrow", "00001.arrow", "00002.arrow", "index.arrow"]
    documents = open_split(tmp_path, "train")
    assert [int(documents.ids(index)[0]) for index in range(7)] == list(range(7))
    assert documents.texts(3) == Texts("", "")
    for outside in (-1, 7):
        with pytest.raises(IndexError, match=f"document {outside} of 7"):
            documents.ids(outside)


def test_an_empty_split_can_be_opened(tmp_path: Path) -> None:
    assert SplitWriter(tmp_path / "test", tmp_path).close() == SplitFiles(documents=0, tokens=0, trained=0)
    assert len(open_split(tmp_path, "test")) == 0
