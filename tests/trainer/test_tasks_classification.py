"""Texts and labels, as rows have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune_api.spec import ClassificationTask, Overlong
from finetune_trainer.tasks.classification import Classification
from finetune_trainer.tasks.rows import EmptyRow, InvalidRow, Messages, Room, TooLong
from finetune_trainer.tasks.shapes import Shape
from finetune_trainer.tokenizers import Message, load
from tiny_models import TokenizerKind, write_tokenizer


def task(**settings: Any) -> Classification:
    return Classification(ClassificationTask.parse(settings))


def row(text: str, *labels: str) -> Messages:
    return (Message("text", text), *(Message("label", label) for label in labels))


@pytest.mark.parametrize(
    ("value", "label"), [("spam", "spam"), (3, "3"), (0, "0"), (2.0, "2"), (True, "true"), (["spam"], "spam")]
)
def test_a_label_is_text_however_it_is_stored(value: object, label: str) -> None:
    assert task().parse({"text": "a", "label": value}) == row("a", label)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "label is null, not text"),
        (float("nan"), "label is not a number, as tables say that it is missing"),
        (0.37, "label is the number 0.37, not a label"),
        ({"spam": 1}, "label is an object, not text"),
        ([], "label holds 0 labels, and without spec.task.classification.multiLabel a row has one"),
        (["a", "b"], "label holds 2 labels, and without spec.task.classification.multiLabel a row has one"),
        ('["a", "b"]', "label is a list written as text"),
    ],
)
def test_what_is_no_label_is_rejected_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(InvalidRow) as invalid:
        task().parse({"text": "a", "label": value})
    assert (invalid.value.reason, invalid.value.field) == (reason, "label")


def test_the_field_of_several_labels_is_found_and_the_mapped_one_wins() -> None:
    many = task(multiLabel=True)
    assert many.parse({"text": "a", "labels": ["y", "x", "y"]}) == row("a", "x", "y")
    assert many.parse({"text": "a", "label": "z", "labels": ["y"]}) == row("a", "z")
    assert task(textField="body", labelField="kind").parse({"body": "a", "kind": "z"}) == row("a", "z")
    with pytest.raises(InvalidRow, match="has no field 'kind'") as invalid:
        task(labelField="kind").parse({"text": "a", "labels": "z"})
    assert invalid.value.absent == "spec.task.classification.labelField"


def test_a_row_may_have_no_label_only_where_it_may_have_several() -> None:
    many = task(multiLabel=True)
    assert many.parse({"text": "a", "labels": []}) == row("a")
    assert many.parse({"text": "a", "label": ""}) == row("a")  # as a table says it
    with pytest.raises(InvalidRow, match="label is null"):  # nobody looked
        many.parse({"text": "a", "label": None})


def test_a_delimiter_parts_labels_only_where_it_is_named() -> None:
    assert task(multiLabel=True).parse({"text": "a", "label": "x;y"}) == row("a", "x;y")
    parted = task(multiLabel=True, labelDelimiter=";")
    assert parted.parse({"text": "a", "label": " y; x;"}) == row("a", "x", "y")
    assert parted.parse({"text": "a", "label": ""}) == row("a")


def test_labels_are_checked_when_they_are_clean() -> None:
    task().check(row("a", " Spam "), {})
    with pytest.raises(EmptyRow):
        task().check(row(" ", "spam"), {})
    with pytest.raises(InvalidRow, match="empty label"):
        task().check(row("a", " "), {})
    with pytest.raises(InvalidRow, match="label has 129 characters: a text, not a label"):
        task().check(row("a", "x" * 129), {})


def test_labels_that_are_not_right_are_named_by_the_field_they_stand_in() -> None:
    fields = {"text": "a", "labels": [" "]}
    with pytest.raises(InvalidRow) as invalid:
        task(multiLabel=True).check(row("a", " "), fields)
    assert invalid.value.field == "labels"


def test_a_label_that_is_not_listed_is_rejected_by_its_name() -> None:
    listed = task(labels=["Spam", "Ham"], labelMapping={"junk": "Spam"})
    for label in ("Spam", " HAM", "Junk"):
        listed.check(row("a", label), {})
    with pytest.raises(InvalidRow, match=r"the label 'eggs' is none of spec\.task\.classification\.labels"):
        listed.check(row("a", "eggs"), {})
    exact = task(labels=["Spam", "Ham"], labelSpelling=False)
    with pytest.raises(InvalidRow, match="the label 'spam' is none of"):
        exact.check(row("a", "spam"), {})


def test_ids_are_in_the_order_of_the_list_or_of_the_alphabet() -> None:
    assert task(labels=["b", "c", "a"]).labels.names({"a": 1}) == ("b", "c", "a")
    assert task().labels.names({"b": 1, "a": 2}) == ("a", "b")


def test_a_row_is_read_back_from_its_record() -> None:
    for settings, messages in (
        ({"labelField": "kind"}, row("a", "x")),
        ({"multiLabel": True}, row("a", "x", "y")),
        ({"multiLabel": True}, row("a")),
    ):
        assert task(**settings).parse(task(**settings).record(messages)) == messages


def test_the_report_knows_the_shape() -> None:
    assert task(labelField="kind").shape({"text": "a", "kind": "z"}) is Shape.LABELLED
    assert task().shape({"text": "a"}) is Shape.TEXT


@pytest.mark.parametrize("kind", [TokenizerKind.MISTRAL_V3, TokenizerKind.HUGGING_FACE])
def test_a_document_ends_where_its_text_does_and_is_read_there(tmp_path: Path, kind: TokenizerKind) -> None:
    write_tokenizer(tmp_path, kind)
    tokenizer = load(tmp_path)
    (document,) = task().encode(row("Once upon a time", "story"), tokenizer)
    whole = tokenizer.encode_text("Once upon a time").ids
    assert document.encoded.ids == whole[:-1]
    assert tokenizer.eos_id == whole[-1] != document.encoded.ids[-1]
    assert document.encoded.trained == ((len(whole) - 2, len(whole) - 1),)
    assert (document.prompt, document.answer, document.labels) == ("Once upon a time", "story", ("story",))


def test_of_a_text_that_does_not_fit_the_start_is_read_where_the_spec_says_so(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, TokenizerKind.HUGGING_FACE)
    tokenizer, messages = load(tmp_path), row("Once upon a time", "story")
    documents = task().encode(messages, tokenizer)
    with pytest.raises(TooLong, match=r"16 tokens, spec\.training\.sequenceLength is 5"):
        task().shorten(messages, documents, tokenizer, Room(5))
    (cut,) = task().shorten(messages, documents, tokenizer, Room(5, Overlong.TRUNCATE_PROMPT))
    assert cut.encoded.ids == documents[0].encoded.ids[:5]
    assert (cut.encoded.trained, cut.labels, cut.cut) == (((4, 5),), ("story",), True)
