"""tokenizer.json and the model's chat template, without transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Encoding, Tokenizer

from finetune_trainer.tokenizers.chat_template import ChatTemplate, TemplateRefused
from finetune_trainer.tokenizers.protocol import (
    Encoded,
    EncodingMismatch,
    Message,
    NotEncodable,
    TokenizerRefused,
    ToolCall,
)
from finetune_trainer.tokenizers.template_input import Turn, template_input, texts_of, with_texts

_PROBE = (
    Message("user", "What is 1 + 1?"),
    Message("assistant", "It is 2."),
    Message("user", "And 2 + 2?"),
    Message("assistant", "It is 4."),
)


_TOOL_PROBE = (
    Message(
        "tools",
        json.dumps(
            [
                {"type": "function", "function": {"name": name, "description": "", "parameters": {"type": "object"}}}
                for name in ("probe_weather", "probe_clock")
            ]
        ),
    ),
    Message("user", "Does it rain?"),
    Message("assistant", "", (ToolCall("probe0001", "probe_weather", '{"where": "probe_city"}'),)),
    Message("tool", '{"said": "probe_rain"}', call_id="probe0001"),
    Message("assistant", "It does."),
)


class _Quoted(NamedTuple):
    """What a template is given, and the control tokens that private characters in it stand for."""

    turns: list[Turn]
    tools: list[dict[str, Any]] | None
    originals: dict[str, str]


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
        has_tools = any(turn.calls or turn.role in ("tools", "tool") for turn in messages)
        if has_tools and self._complaint_of_tools is not None:
            raise NotEncodable(f"has tools, and the model's chat template {self._complaint_of_tools}")
        return (self._encode(self._template, messages),)

    def _encode(self, template: ChatTemplate, messages: Sequence[Message]) -> Encoded:
        ids: list[int] = []
        trained = []
        done = ""
        quoted = self._quote_control_tokens(messages)
        for end, turn in enumerate(quoted.turns):
            if turn["role"] != "assistant":
                continue
            try:
                prompt = template.render(quoted.turns[:end], tools=quoted.tools, generation_prompt=True)
                answered = template.render(quoted.turns[: end + 1], tools=quoted.tools, generation_prompt=False)
            except TemplateRefused as error:
                raise NotEncodable(str(error)) from error
            if not (prompt.startswith(done) and answered.startswith(prompt)):
                raise NotEncodable("the chat template rewrites earlier turns")
            ids += self._encode_rendered(prompt[len(done) :], quoted.originals)
            answer = self._encode_rendered(answered[len(prompt) :], quoted.originals)
            if self.eos_id not in answer:
                raise NotEncodable("the chat template ends an answer without the EOS token")
            trained.append((len(ids), len(ids) + answer.index(self.eos_id) + 1))
            ids += answer
            done = answered
        return Encoded(ids[: trained[-1][1]], tuple(trained), last=len(messages) - 1)

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        """By the template rendered whole and encoded whole, as `apply_chat_template` of transformers does.

        Nothing is compared where a text holds that of a control token, which would become one, or where a token of the
        whole spans the border of an answer, which no generation would give.
        """
        turns, tools = template_input(messages)
        if self._template is None or any(map(self._control_pattern.search, texts_of([turns, tools]))):
            return
        borders = []
        for end, turn in enumerate(turns):
            if turn["role"] == "assistant":
                borders.append(len(self._template.render(turns[:end], tools=tools, generation_prompt=True)))
                borders.append(len(self._template.render(turns[: end + 1], tools=tools, generation_prompt=False)))
        whole = self._encode_whole(self._template.render(turns, tools=tools, generation_prompt=False))
        if any(start < border < end for border in borders for start, end in whole.offsets):
            return
        (document,) = documents
        pairs = zip(document.ids, [*whole.ids, *[None] * len(document.ids)], strict=False)
        differing = next((at for at, (our, their) in enumerate(pairs) if our != their), None)
        if differing is not None:
            raise EncodingMismatch(f"tokenizer.json encodes the whole rendered chat differently from token {differing}")

    @cached_property
    def _complaint_of_tools(self) -> str | None:
        """Why rows with tools cannot be trained on: many templates leave them out without a word."""
        if self._template is None:
            return None
        try:
            document = self._encode(self._template, _TOOL_PROBE)
        except NotEncodable as error:
            return f"cannot show them: {error}"
        answer = self.decode(document.ids[slice(*document.trained[0])])
        shown = self.decode(document.ids[: document.trained[-1][0]])
        for what, sign, text in (
            ("definitions", "probe_clock", shown),
            ("calls", "probe_weather", answer),
            ("arguments", "probe_city", answer),
            ("results", "probe_rain", shown),
        ):
            if sign not in text:
                return f"leaves out their {what}"
        return None

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
        rendered = template.render(template_input(_PROBE)[0], tools=None, generation_prompt=False)
        whole = self._encode_whole(rendered).ids
        if whole[: len(encoded.ids)] != encoded.ids:
            raise TokenizerRefused("tokenizer.json encodes the pieces of a chat differently from the whole")

    def _encode_whole(self, rendered: str) -> Encoding:
        """With the text of control tokens as these."""
        self._tokenizer.encode_special_tokens = False
        encoding = self._tokenizer.encode(rendered, add_special_tokens=False)
        self._tokenizer.encode_special_tokens = True
        return encoding

    def _quote_control_tokens(self, messages: Sequence[Message]) -> _Quoted:
        """Messages in which each control token's text stands for itself as one private character."""
        turns, tools = template_input(messages)
        texts = list(texts_of([turns, tools]))
        if not any(map(self._control_pattern.search, texts)):
            return _Quoted(turns, tools, {})
        used = {character for text in texts for character in text}
        free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)
        private = {token: next(free) for token in self._control}

        def quote(text: str) -> str:
            return self._control_pattern.sub(lambda found: private[found[0]], text)

        originals = {character: token for token, character in private.items()}
        return _Quoted(with_texts(turns, quote), with_texts(tools, quote), originals)

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
