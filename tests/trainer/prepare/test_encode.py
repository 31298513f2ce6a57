"""Rows to documents, documents to shards."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune_api.contract import ExitCode
from finetune_api.spec import Data, InstructionTask, Source
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.encode import Encode, KeptRows, encode_row, is_proven
from finetune_trainer.prepare.ledger import Ledger
from finetune_trainer.prepare.read import RawObject
from finetune_trainer.prepare.read.find import Format
from finetune_trainer.prepare.scan import scan
from finetune_trainer.prepare.shards import DocumentList, Part, SplitWriter
from finetune_trainer.prepare.tally import Tally
from finetune_trainer.prepared import SHARD_TOKENS, SplitFiles, Texts, open_split, row_id
from finetune_trainer.storage import StoredObject
from finetune_trainer.tasks.instruction import Instruction
from finetune_trainer.tasks.rows import Document, Messages, Room, TooLong
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, EncodingMismatch, Message, NotEncodable, load
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
    (kept,) = encode_row(ROW, row=1, task=TASK, tokenizer=tokenizer, room=Room(length))
    assert kept == Document(whole, prompt=ROW[0].content, answer=ROW[1].content)
    with pytest.raises(TooLong, match=rf"{length} tokens, spec\.training\.sequenceLength is {length - 1}"):
        encode_row(ROW, row=1, task=TASK, tokenizer=tokenizer, room=Room(length - 1))


def test_a_row_without_a_token_to_learn_is_no_document() -> None:
    class Deaf:
        def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> list[Document]:
            return [Document(Encoded([7], ((1, 1),)), prompt="", answer="")]

    with pytest.raises(NotEncodable, match="makes no tokens"):
        encode_row(ROW, row=11, task=Deaf(), tokenizer=None, room=Room(16))  # type: ignore[arg-type]


def test_the_first_rows_of_each_file_and_one_in_a_hundred_of_the_others_are_proven() -> None:
    rows = [row_id(source, line) for source in range(4) for line in range(1, 10_001)]
    proven = [row for row in rows if is_proven(row)]
    assert proven[:10] == rows[:10]
    assert 400 <= len(proven) <= 500
    assert {row >> 40 for row in proven[-20:]} == {3}


class Wrong:
    """Says of every conversation that it is not what its makers would write."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        raise EncodingMismatch(f"x.json (v9): token {len(documents)} of {len(messages)} is not that")


def test_a_proven_row_that_is_encoded_differently_ends_the_job_with_its_place(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    uris = ("s3://raw/a.jsonl", "s3://raw/b.jsonl")
    stored = StoredObject(uri=uris[1], size=1, etag="e")
    with Ledger(tmp_path, uris) as ledger:
        spill = scan(
            BytesIO(b'{"prompt": "q", "completion": "a"}'),
            source=1,
            raw=RawObject(stored=stored, field="spec.data.sources[0].uri", kind=Format.JSON_LINES),
            task=TASK,
            data=Data(sources=(Source(uri="s3://raw/*.jsonl"),)),
            ledger=ledger,
            tally=Tally(),
            path=tmp_path / "spill",
            told=lambda _: None,
        )
    encode = Encode(TASK, Room(64), uris, lambda: Wrong(tokenizer))  # type: ignore[arg-type, return-value]
    with pytest.raises(
        StageFailed, match=r"spec\.model\.uri: s3://raw/b\.jsonl:1: the tokenizer x\.json \(v9\)"
    ) as failed:
        encode(KeptRows(1, spill.path, spill.blocks[0], np.array([0], np.int8), first=0), None)
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.places == ("s3://raw/b.jsonl:1",)


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
    assert documents.trained.tolist() == documents.items.tolist() == [5, 5, 5]
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
