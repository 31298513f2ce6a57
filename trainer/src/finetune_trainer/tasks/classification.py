"""Classification: a text and its label, or labels; what is learnt is told at the text's last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from finetune_api.spec import ClassificationTask, Overlong
from finetune_trainer.tasks.labels import LABEL, LabelRules
from finetune_trainer.tasks.rows import Document, EmptyRow, Messages, Room, field_of, text_of, too_long
from finetune_trainer.tasks.shapes import Shape, detect
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message, NotEncodable

_TASK = "spec.task.classification"


class Classification:
    """A message of role `text`, and one of role `label` for each label."""

    def __init__(self, settings: ClassificationTask) -> None:
        self._settings = settings
        self.labels = LabelRules(settings)

    def shape(self, fields: Mapping[str, object]) -> Shape:
        named = (self._settings.text_field, self._label_field(fields))
        return Shape.LABELLED if all(name in fields for name in named) else detect(fields)

    def parse(self, fields: Mapping[str, object]) -> Messages:
        name, label = self._settings.text_field, self._label_field(fields)
        text = text_of(field_of(fields, name, mapped_by=f"{_TASK}.textField"), name)
        value = field_of(fields, label, mapped_by=f"{_TASK}.labelField")
        return (Message("text", text), *(Message(LABEL, found) for found in self.labels.read(value, label)))

    def _label_field(self, fields: Mapping[str, object]) -> str:
        name = self._settings.label_field
        return "labels" if name == "label" and name not in fields and "labels" in fields else name

    def check(self, messages: Messages, fields: Mapping[str, object]) -> None:
        text, *labels = messages
        if not text.content.strip():
            raise EmptyRow("empty")
        for label in labels:
            self.labels.check(label.content, self._label_field(fields))

    def record(self, messages: Messages) -> dict[str, object]:
        """A row that `parse` reads back."""
        text, *labels = (message.content for message in messages)
        value = labels if self._settings.multi_label else labels[0]
        return {self._settings.text_field: text, self._settings.label_field: value}

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        text, *labels = (message.content for message in messages)
        encoded = tokenizer.encode_text(text)
        ids = encoded.ids[:-1]  # whoever asks the finished model encodes a text, and no end of it
        if len(ids) <= encoded.trained[0][0]:
            raise NotEncodable("the tokenizer makes no tokens of the text")
        return (Document(_read_at_its_end(ids), prompt=text, answer=", ".join(labels), labels=tuple(labels)),)

    def shorten(
        self, _messages: Messages, documents: Sequence[Document], _tokenizer: ChatTokenizer, room: Room, /
    ) -> Sequence[Document]:
        """The start of the text, as tokenizers cut for whoever asks the finished model. Raises TooLong."""
        if room.overlong is Overlong.REJECT:
            raise too_long(documents, room)
        return [
            replace(document, encoded=_read_at_its_end(document.encoded.ids[: room.tokens]), cut=True)
            for document in documents
        ]


def _read_at_its_end(ids: list[int]) -> Encoded:
    return Encoded(ids, ((len(ids) - 1, len(ids)),))
