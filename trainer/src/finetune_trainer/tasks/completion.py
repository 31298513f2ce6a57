"""Completion: plain documents, trained on every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune_api.spec import CompletionTask
from finetune_trainer.tasks.rows import Document, EmptyRow, Messages, text_field
from finetune_trainer.tokenizers import ChatTokenizer, Message


class Completion:
    """A row's one text, held as a single message of role `text`."""

    def __init__(self, settings: CompletionTask) -> None:
        self._settings = settings

    def parse(self, fields: Mapping[str, object]) -> Messages:
        text = text_field(fields, self._settings.text_field, mapped_by="spec.task.completion.textField")
        return (Message("text", text),)

    def check(self, messages: Messages) -> None:
        if not messages[0].content.strip():
            raise EmptyRow("empty")

    def encode(self, messages: Messages, tokenizer: ChatTokenizer) -> Sequence[Document]:
        text = messages[0].content
        return (Document(tokenizer.encode_text(text), prompt="", answer=text),)
