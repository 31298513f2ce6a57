"""A tokenizer that proves each conversation it encodes."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_trainer.tokenizers.protocol import ChatTokenizer, Encoded, Message


class Proven:
    """The same ids as those of the tokenizer within, or EncodingMismatch."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size
        self.eos_id = tokenizer.eos_id
        self.pad_id = tokenizer.pad_id

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        documents = self._tokenizer.encode_messages(messages)
        self._tokenizer.prove(messages, documents)
        return documents

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        self._tokenizer.prove(messages, documents)

    def encode_text(self, text: str) -> Encoded:
        return self._tokenizer.encode_text(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)
