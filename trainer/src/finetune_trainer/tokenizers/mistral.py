"""Mistral's own encoders, applied message by message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV1,
    InstructTokenizerV2,
    InstructTokenizerV3,
    InstructTokenizerV7,
    InstructTokenizerV11,
    InstructTokenizerV13,
)
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from finetune_trainer.tokenizers.protocol import Encoded, Message, NotEncodable, TokenizerRefused

_ENCODERS = {
    TokenizerVersion.v1: InstructTokenizerV1,
    TokenizerVersion.v2: InstructTokenizerV2,
    TokenizerVersion.v3: InstructTokenizerV3,
    TokenizerVersion.v7: InstructTokenizerV7,
    TokenizerVersion.v11: InstructTokenizerV11,
    TokenizerVersion.v13: InstructTokenizerV13,
}


class MistralChatTokenizer:
    """Mistral's encoders, message by message, so that each token is known to be prompt or answer."""

    def __init__(self, tokenizer: SentencePieceTokenizer | Tekkenizer) -> None:
        if tokenizer.version not in _ENCODERS:
            raise TokenizerRefused(f"{tokenizer.file_path.name}: version {tokenizer.version.value} is not supported")
        self.version = tokenizer.version
        self.vocab_size: int = tokenizer.n_words
        self.eos_id: int = tokenizer.eos_id
        self.pad_id: int = tokenizer.eos_id
        self._tokenizer = tokenizer
        self._encoder: Any = _ENCODERS[self.version](tokenizer)
        self._validator: Any = get_validator(self.version, ValidationMode.finetuning)
        self._normalizer: Any = get_normalizer(self.version, None)

    @classmethod
    def from_tekken(cls, path: Path) -> MistralChatTokenizer:
        """The version stands in the file. Raises TokenizerRefused."""
        try:
            tokenizer = Tekkenizer.from_file(path)
        except Exception as error:  # whatever the library meets first in a file that is not Tekken's
            raise TokenizerRefused(f"{path.name}: {error}") from error
        return cls(tokenizer)

    @classmethod
    def from_sentencepiece(cls, path: Path) -> MistralChatTokenizer:
        """The version is read from the control pieces, for the suffix lies: v3 is often called `tokenizer.model`."""
        try:
            vocab = set(SentencePieceTokenizer(path, TokenizerVersion.v1).vocab())
        except (RuntimeError, OSError) as error:
            raise TokenizerRefused(f"{path.name} is no SentencePiece model: {error}") from error
        return cls(SentencePieceTokenizer(path, _sentencepiece_version(vocab)))

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """One document; with a system prompt in v2 and v3, one for each answer.

        There the system prompt stands before the *last* user turn, so that a conversation trained in one piece would
        teach its early answers without the system prompt that they will be given.
        """
        if any(message.calls or message.role in ("tools", "tool") for message in messages):
            raise NotEncodable("has tools, which cannot be encoded yet")
        if self.version in (TokenizerVersion.v2, TokenizerVersion.v3) and messages[0].role == "system":
            ends = [index + 1 for index, message in enumerate(messages) if message.role == "assistant"]
            return tuple(self._encode(messages[:end], last_answer_only=True) for end in ends)
        return (self._encode(messages, last_answer_only=False),)

    def _encode(self, messages: Sequence[Message], *, last_answer_only: bool) -> Encoded:
        try:
            request: ChatCompletionRequest[Any] = ChatCompletionRequest(
                messages=[_mistral_message(message) for message in messages]
            )
            normal = self._normalizer.from_chat_completion_request(self._validator.validate_request(request))
        except MistralCommonException as error:
            raise NotEncodable(str(error)) from error
        encoder = self._encoder
        first_user, last_user = encoder.find_first_last_user(normal)
        ids: list[int] = encoder.start()
        trained = []
        for index, message in enumerate(normal.messages):
            if isinstance(message, AssistantMessage):
                answer = encoder.encode_assistant_message(message, index < last_user)
                trained.append((len(ids), len(ids) + len(answer)))
                ids += answer
            elif isinstance(message, SystemMessage):
                ids += encoder.encode_system_message(message)[0]
            else:
                ids += encoder.encode_user_message(
                    message,
                    None,
                    is_last=index == last_user,
                    is_first=index == first_user,
                    system_prompt=normal.system_prompt,
                    force_img_first=True,
                )[0]
        return Encoded(ids, tuple(trained[-1:] if last_answer_only else trained), last=len(messages) - 1)

    def encode_text(self, text: str) -> Encoded:
        ids = self._tokenizer.encode(text, bos=True, eos=True)
        return Encoded(ids, ((1, len(ids)),))

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids))


def _sentencepiece_version(vocab: set[str]) -> TokenizerVersion:
    if "[SYSTEM_PROMPT]" in vocab:
        return TokenizerVersion.v7
    if "[PREFIX]" in vocab:
        return TokenizerVersion.v3
    return TokenizerVersion.v2 if "[INST]" in vocab else TokenizerVersion.v1


def _mistral_message(message: Message) -> SystemMessage | UserMessage | AssistantMessage:
    match message.role:
        case "system":
            return SystemMessage(content=message.content)
        case "user":
            return UserMessage(content=message.content)
        case "assistant":
            return AssistantMessage(content=message.content)
    raise NotEncodable(f"role {message.role}")
