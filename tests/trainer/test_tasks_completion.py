"""Plain documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_api.spec import CompletionTask
from finetune_trainer.tasks.completion import Completion
from finetune_trainer.tasks.rows import EmptyRow, InvalidRow
from finetune_trainer.tokenizers import Message, load
from tiny_models import TokenizerKind, write_tokenizer


def test_the_text_is_found_under_its_name() -> None:
    assert Completion(CompletionTask()).parse({"text": "a", "id": 1}) == (Message("text", "a"),)
    assert Completion(CompletionTask(text_field="body")).parse({"body": "b"}) == (Message("text", "b"),)


def test_a_row_without_the_field_names_what_maps_it() -> None:
    with pytest.raises(InvalidRow, match="has no field 'text'") as invalid:
        Completion(CompletionTask()).parse({"body": "b"})
    assert invalid.value.absent == "spec.task.completion.textField"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "text is null, not text"), (3, "text is a number, not text"), ("\ud800", "text holds half a surrogate")],
)
def test_a_field_that_holds_no_text_is_invalid(value: object, reason: str) -> None:
    with pytest.raises(InvalidRow, match=reason) as invalid:
        Completion(CompletionTask()).parse({"text": value})
    assert (invalid.value.field, invalid.value.absent) == ("text", None)


def test_an_empty_document_is_not_needed() -> None:
    with pytest.raises(EmptyRow):
        Completion(CompletionTask()).check((Message("text", " \n"),), {"text": " \n"})


def test_every_token_of_a_document_is_trained(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TokenizerKind.MISTRAL_V3)
    tokenizer = load(tmp_path)
    (document,) = Completion(CompletionTask()).encode((Message("text", "Once upon a time"),), tokenizer)
    assert document.encoded == tokenizer.encode_text("Once upon a time")
    assert (document.prompt, document.answer) == ("", "Once upon a time")
