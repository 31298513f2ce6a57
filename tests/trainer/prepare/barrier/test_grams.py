"""13-word sequences of rows, by batches and in several processes."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from finetune_trainer.prepare.barrier.grams import RAREST, Known, text_grams
from finetune_trainer.prepare.barrier.split import NO_GROUP
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.prepare.spill import GoodRow, learnt_texts, to_arrow
from finetune_trainer.prepare.words import learnt_text
from finetune_trainer.tokenizers import Message, ToolCall

SAID = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"))
CALLED = (
    Message("tools", "[]"),
    Message("user", "a"),
    Message("assistant", "", (ToolCall("1", "f", "{}"),)),
    Message("tool", "r", (), "1"),
)
ROWS = [SAID, (Message("text", "one"), Message("label", "x")), (Message("system", "nothing else"),), SAID[1:]]


@pytest.mark.parametrize("rows", [ROWS, [*ROWS, CALLED]])
def test_learnt_texts_of_a_batch_are_those_of_its_rows(rows: list[tuple[Message, ...]]) -> None:
    batch = to_arrow([GoodRow(line, row, Step.NONE, NO_GROUP) for line, row in enumerate(rows)])
    for wanted in (np.ones(len(rows), dtype=bool), np.arange(len(rows)) % 2 == 0, np.zeros(len(rows), dtype=bool)):
        expected = [learnt_text(row) for row, here in zip(rows, wanted, strict=True) if here]
        assert learnt_texts(batch, wanted) == expected


def test_only_known_sequences_are_kept_and_another_process_knows_the_same(tmp_path: Path) -> None:
    texts = [" ".join(f"{name}{number}" for number in range(20)) for name in "abc"]
    known = Known.empty(tmp_path / "known", RAREST * len(texts))
    for entries in text_grams([(7, texts[0])], None):
        known.add(entries)
    sent = ForkingPickler.loads(ForkingPickler.dumps(known))
    (found,) = text_grams(enumerate(texts), sent)
    assert found["row"].tolist() == [0] * 8
    assert len(bytes(ForkingPickler.dumps(known))) < 1000


def test_long_texts_are_looked_at_in_parts_and_by_a_sample() -> None:
    texts = [" ".join(f"{row}x{number}" for number in range(60_000)) for row in range(4)]
    batches = list(text_grams(enumerate(texts), None))
    assert len(batches) > 1
    assert np.concatenate([batch["row"] for batch in batches]).tolist() == np.repeat(np.arange(4), RAREST).tolist()
