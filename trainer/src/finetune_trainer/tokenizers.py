"""Mistral's own encoders and Hugging Face tokenizers behind one protocol: texts in, token ids and loss spans out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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
from tokenizers import Tokenizer

from finetune_trainer.chat_template import ChatTemplate, TemplateRefused

FILE_NAMES = (
    "tekken.json",
    "tokenizer.model",
    "tokenizer.model.v*",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Globs of the files in a model's folder that make up its tokenizer."""


class Message(NamedTuple):
    """One turn."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True)
class Encoded:
    """One document."""

    ids: list[int]
    trained: tuple[tuple[int, int], ...]
    """Half-open spans of `ids` that are loss targets, in order; the last one is the last answer and its EOS."""


class TokenizerRefused(ValueError):
    """The files hold no tokenizer that can be used; says which and why."""


class NotEncodable(ValueError):
    """This conversation cannot be encoded; says why."""


class ChatTokenizer(Protocol):
    """What preparation, evaluation and generation need of a tokenizer. No text becomes a control token."""

    vocab_size: int
    """One more than the largest id."""
    eos_id: int
    """Ends an answer; it carries loss."""
    pad_id: int
    """Any id will do: padding is masked by length, never by id."""

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """Documents that together train every answer once. Raises NotEncodable."""

    def encode_text(self, text: str) -> Encoded:
        """A plain document between the model's BOS, where it has one, and EOS; all of it after the BOS is trained."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without control tokens."""


def load(folder: Path) -> ChatTokenizer:
    """The tokenizer of a model's folder. Raises TokenizerRefused.

    Mistral's own file comes first: published chat templates drop or misplace the system prompt. A plain v1 file says
    nothing of chats, so a template beside it wins: fine-tunes of Mistral 0.1 bring their own.
    """
    if (path := folder / "tekken.json").is_file():
        return MistralChatTokenizer.from_tekken(path)
    sentencepiece = sorted(folder.glob("tokenizer.model*"), reverse=True)
    if sentencepiece:
        mistral = MistralChatTokenizer.from_sentencepiece(sentencepiece[0])
        if mistral.version != TokenizerVersion.v1 or not _has_template(folder):
            return mistral
    if (folder / "tokenizer.json").is_file():
        return HuggingFaceChatTokenizer.from_folder(folder)
    raise TokenizerRefused("there is none of tekken.json, tokenizer.model and tokenizer.json")


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
            return cls(Tekkenizer.from_file(path))
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise TokenizerRefused(f"{path.name}: {error}") from error

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
        return Encoded(ids, tuple(trained[-1:] if last_answer_only else trained))

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


_PROBE = (
    Message("user", "What is 1 + 1?"),
    Message("assistant", "It is 2."),
    Message("user", "And 2 + 2?"),
    Message("assistant", "It is 4."),
)


class HuggingFaceChatTokenizer:
    """tokenizer.json and the model's chat template.

    An answer is what the template adds to its own generation prompt, so the prompt of every answer is, character by
    character, what the model is given when it generates; a template that rewrites earlier turns is refused. Answers are
    encoded apart from their prompts, as in generation: a token never spans the border.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, eos: str, pad: str | None = None, template: ChatTemplate | None = None
    ) -> None:
        """Raises TokenizerRefused when the tokens are unknown or the template cannot be trained on."""
        self.vocab_size: int = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
        self.eos_id = _token_id(tokenizer, eos)
        self.pad_id = _token_id(tokenizer, pad) if pad else self.eos_id
        self._tokenizer = tokenizer
        # In this mode the text of a control token is text; control ids are put in by number.
        self._tokenizer.encode_special_tokens = True
        self._control = {
            token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special
        }
        alternatives = sorted(self._control, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, alternatives)) or r"(?!)")
        self._template = template
        if template is not None:
            self._check_template(template)

    @classmethod
    def from_folder(cls, folder: Path) -> HuggingFaceChatTokenizer:
        """Raises TokenizerRefused."""
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerRefused(f"tokenizer.json: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        settings = _read_settings(folder)
        special = {
            name: text
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if (text := _token_text(settings.get(name))) is not None
        }
        if "eos_token" not in special:
            raise TokenizerRefused("tokenizer_config.json names no eos_token")
        source = _template_source(folder, settings)
        try:
            template = None if source is None else ChatTemplate(source, special_tokens=special)
        except TemplateRefused as error:
            raise TokenizerRefused(str(error)) from error
        return cls(tokenizer, eos=special["eos_token"], pad=special.get("pad_token"), template=template)

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """One document."""
        if self._template is None:
            raise NotEncodable("the model's folder has no chat template")
        ids: list[int] = []
        trained = []
        done = ""
        quoted, originals = self._quote_control_tokens(messages)
        for end, message in enumerate(messages):
            if message.role != "assistant":
                continue
            try:
                prompt = self._template.render(quoted[:end], generation_prompt=True)
                answered = self._template.render(quoted[: end + 1], generation_prompt=False)
            except TemplateRefused as error:
                raise NotEncodable(str(error)) from error
            if not (prompt.startswith(done) and answered.startswith(prompt)):
                raise NotEncodable("the chat template rewrites earlier turns")
            ids += self._encode_rendered(prompt[len(done) :], originals)
            answer = self._encode_rendered(answered[len(prompt) :], originals)
            if self.eos_id not in answer:
                raise NotEncodable("the chat template ends an answer without the EOS token")
            trained.append((len(ids), len(ids) + answer.index(self.eos_id) + 1))
            ids += answer
            done = answered
        return (Encoded(ids[: trained[-1][1]], tuple(trained)),)

    def encode_text(self, text: str) -> Encoded:
        encoding = self._tokenizer.encode(text)
        ids: list[int] = encoding.ids
        # What the post-processor puts in front (BOS) is no target; what it may put behind is replaced by one EOS.
        start = encoding.special_tokens_mask.index(0) if 0 in encoding.special_tokens_mask else len(ids)
        if ids[-1:] != [self.eos_id]:
            ids = [*ids, self.eos_id]
        return Encoded(ids, ((max(start, 1), len(ids)),))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _check_template(self, template: ChatTemplate) -> None:
        try:
            (encoded,) = self.encode_messages(_PROBE)
        except NotEncodable as error:
            raise TokenizerRefused(str(error)) from error
        rendered = template.render([message._asdict() for message in _PROBE], generation_prompt=False)
        self._tokenizer.encode_special_tokens = False
        whole = self._tokenizer.encode(rendered, add_special_tokens=False).ids
        self._tokenizer.encode_special_tokens = True
        if whole[: len(encoded.ids)] != encoded.ids:
            raise TokenizerRefused("tokenizer.json encodes the pieces of a chat differently from the whole")

    def _quote_control_tokens(self, messages: Sequence[Message]) -> tuple[list[dict[str, str]], dict[str, str]]:
        """Messages in which each control token's text stands for itself as one private character, and what for."""
        if not any(self._control_pattern.search(message.content) for message in messages):
            return [message._asdict() for message in messages], {}
        used = {character for message in messages for character in message.content}
        free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)
        private = {token: next(free) for token in self._control}
        quoted = [
            {"role": role, "content": self._control_pattern.sub(lambda found: private[found[0]], content)}
            for role, content in messages
        ]
        return quoted, {character: token for token, character in private.items()}

    def _encode_rendered(self, text: str, originals: dict[str, str]) -> list[int]:
        ids: list[int] = []
        position = 0
        for found in self._control_pattern.finditer(text):
            ids += self._encode_plain(text[position : found.start()], originals)
            ids.append(self._control[found[0]])
            position = found.end()
        return ids + self._encode_plain(text[position:], originals)

    def _encode_plain(self, text: str, originals: dict[str, str]) -> list[int]:
        for character, token in originals.items():
            text = text.replace(character, token)
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids) if text else []


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise TokenizerRefused(f"tokenizer.json does not know the token {token!r} of tokenizer_config.json")
    return int(number)


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_bytes())
    except ValueError as error:
        raise TokenizerRefused(f"tokenizer_config.json: {error}") from error
    if not isinstance(settings, dict):
        raise TokenizerRefused("tokenizer_config.json holds no object")
    return settings


def _template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text(encoding="utf-8")
    source = settings.get("chat_template")
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    return source if isinstance(source, str) else None


def _has_template(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() and _template_source(folder, _read_settings(folder)) is not None
