"""Completion: plain documents, trained on every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from finetune_api.spec import CompletionTask
from finetune_trainer.tasks.rows import Document, EmptyRow, Messages, Room, field_of, text_of
from finetune_trainer.tasks.shapes import Shape, detect
from finetune_trainer.tokenizers import ChatTokenizer, Encoded, Message


class Completion:
    """A row's one text, held as a single message of role `text`."""

    labels: Final = None

    def __init__(self, settings: CompletionTask) -> None:
        self._settings = settings

    def shape(self, fields: Mapping[str, object]) -> Shape:
        return Shape.TEXT if self._settings.text_field != "text" else detect(fields)

    def parse(self, fields: Mapping[str, object]) -> Messages:
        name = self._settings.text_field
        text = text_of(field_of(fields, name, mapped_by="spec.task.completion.textField"), name)
        return (Message("text", text),)

    def check(self, messages: Messages, _fields: Mapping[str, object], /) -> None:
        if not messages[0].content.strip():
            raise EmptyRow("empty")

    def record(self, messages: Messages) -> dict[str, object]:
        return {self._settings.text_field: messages[0].content}

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        text = messages[0].content
        return (Document(tokenizer.encode_text(text), prompt="", answer=text),)

    def shorten(
        self, _messages: Messages, documents: Sequence[Document], tokenizer: ChatTokenizer, room: Room, /
    ) -> Sequence[Document]:
        """Pieces, each behind the last token of the one before: every token is trained once."""
        (document,) = documents
        ids, trained = document.encoded.ids, document.encoded.trained[0][0]
        pieces = [Encoded(ids[: room.tokens], ((trained, room.tokens),))]
        for end in range(room.tokens, len(ids), room.tokens - 1):
            piece = ids[end - 1 : end - 1 + room.tokens]
            pieces.append(Encoded(piece, ((1, len(piece)),)))
        return [
            Document(piece, prompt="", answer=tokenizer.decode(piece.ids[piece.trained[0][0] :])) for piece in pieces
        ]
