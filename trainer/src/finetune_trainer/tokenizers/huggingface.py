"""tokenizer.json and the model's chat template, without transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from finetune_trainer.tokenizers.chat_template import ChatTemplate, TemplateRefused
from finetune_trainer.tokenizers.protocol import Encoded, Message, NotEncodable, TokenizerRefused

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
        settings = read_settings(folder)
        special = {
            name: text
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
            if (text := _token_text(settings.get(name))) is not None
        }
        if "eos_token" not in special:
            raise TokenizerRefused("tokenizer_config.json names no eos_token")
        source = template_source(folder, settings)
        try:
            template = None if source is None else ChatTemplate(source, special_tokens=special)
        except TemplateRefused as error:
            raise TokenizerRefused(str(error)) from error
        return cls(tokenizer, eos=special["eos_token"], pad=special.get("pad_token"), template=template)

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """One document."""
        if self._template is None:
            raise NotEncodable("the model's folder has no chat template")
        if any(message.calls or message.role in ("tools", "tool") for message in messages):
            raise NotEncodable("has tools, which cannot be encoded yet")
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
        rendered = template.render(self._quote_control_tokens(_PROBE)[0], generation_prompt=False)
        self._tokenizer.encode_special_tokens = False
        whole = self._tokenizer.encode(rendered, add_special_tokens=False).ids
        self._tokenizer.encode_special_tokens = True
        if whole[: len(encoded.ids)] != encoded.ids:
            raise TokenizerRefused("tokenizer.json encodes the pieces of a chat differently from the whole")

    def _quote_control_tokens(self, messages: Sequence[Message]) -> tuple[list[dict[str, str]], dict[str, str]]:
        """Messages in which each control token's text stands for itself as one private character, and what for."""
        if not any(self._control_pattern.search(message.content) for message in messages):
            return [{"role": message.role, "content": message.content} for message in messages], {}
        used = {character for message in messages for character in message.content}
        free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)
        private = {token: next(free) for token in self._control}
        quoted = [
            {
                "role": message.role,
                "content": self._control_pattern.sub(lambda found: private[found[0]], message.content),
            }
            for message in messages
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


def read_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, or nothing. Raises TokenizerRefused."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TokenizerRefused(f"tokenizer_config.json: {error}") from error
    if not isinstance(settings, dict):
        raise TokenizerRefused("tokenizer_config.json holds no object")
    return settings


def template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template, from its own file or from the settings. Raises TokenizerRefused."""
    if (path := folder / "chat_template.jinja").is_file():
        try:
            return path.read_text(encoding="utf-8")
        except ValueError as error:
            raise TokenizerRefused(f"chat_template.jinja: {error}") from error
    source = settings.get("chat_template")
    if isinstance(source, list):
        named = [entry for entry in source if isinstance(entry, dict) and entry.get("name") == "default"]
        source = named[0].get("template") if named else None
    return source if isinstance(source, str) else None
