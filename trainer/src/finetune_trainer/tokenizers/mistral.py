"""Mistral's own encoders, applied message by message, so that each token is known to be prompt or answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.tool_calls import FunctionCall, Tool
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralCall
from mistral_common.tokens.tokenizers.base import TokenizerVersion, UserMessagePosition
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from finetune_trainer.tokenizers.mistral_files import encoder_for, read_sentencepiece, read_tekken
from finetune_trainer.tokenizers.mistral_reference import Reference
from finetune_trainer.tokenizers.mistral_tools import check_calls, mistral_call_id, read_tools
from finetune_trainer.tokenizers.ordinary_tekken import OrdinaryTekkenizer
from finetune_trainer.tokenizers.protocol import Encoded, EncodingMismatch, Message, NotEncodable, ToolCall
from finetune_trainer.tokenizers.wordwise import WordwiseSentencePiece

_REPEATED: Final = 256
"""System prompts and definitions of tools that are kept encoded: most rows share them."""


class MistralChatTokenizer:
    """Mistral's encoders without the request, validator and normalizer around them, which cost more than the encoding.

    SentencePiece is given words. What those check is checked here, and `prove` asserts on whole conversations, encoded
    whole, that both come out the same.
    """

    def __init__(self, tokenizer: SentencePieceTokenizer | Tekkenizer) -> None:
        """Raises TokenizerRefused."""
        self._reference = Reference(encoder_for(tokenizer))
        self.published = tokenizer
        """As its file is."""
        if isinstance(tokenizer, SentencePieceTokenizer):
            tokenizer = WordwiseSentencePiece(tokenizer.file_path, tokenizer.version)
        else:
            tokenizer = OrdinaryTekkenizer(tokenizer)
        self._encoder: Any = encoder_for(tokenizer)
        self._tokenizer = tokenizer
        self.version = tokenizer.version
        self.vocab_size: int = tokenizer.n_words
        self.eos_id: int = tokenizer.eos_id
        # Of SentencePiece there is none, and bytes stand for what it does not know.
        self.pad_id: int = tokenizer.pad_id if isinstance(tokenizer, Tekkenizer) else tokenizer.unk_id
        self.special_ids = frozenset(tokenizer.special_ids)
        self._system_apart = self.version >= TokenizerVersion.v7
        position = getattr(self._encoder, "_message_position_to_encode_tools_settings", None)
        self._tools_first = position == UserMessagePosition.first
        self._encode_tools = lru_cache(_REPEATED)(self._tools_ids)
        self._encode_system = lru_cache(_REPEATED)(self._system_ids)

    @classmethod
    def from_tekken(cls, path: Path) -> MistralChatTokenizer:
        """The version stands in the file. Raises TokenizerRefused."""
        return cls(read_tekken(path))

    @classmethod
    def from_sentencepiece(cls, path: Path) -> MistralChatTokenizer:
        """The version is read from the control pieces. Raises TokenizerRefused."""
        return cls(read_sentencepiece(path))

    def encode_messages(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """One document; or one for each user turn, where what stands before the *last* user turn moves on with it.

        That is so for system prompts in v2 and v3, for definitions of tools in v2 to v11, and v2 forgets calls. Trained
        in one piece, such a conversation would teach its early answers without the prompt that they will be given.
        """
        try:
            return tuple(self._documents(messages))
        except NotEncodable:
            raise
        except (MistralCommonException, ValueError, RuntimeError) as error:  # the last is SentencePiece's own
            raise NotEncodable(f"Mistral's encoder refuses it: {error}") from error

    def as_given(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The same conversation for what sorts and renames nothing, as chat templates do not.

        Calls have ids that Mistral takes, and from v11 on results stand in the order of the calls.
        """
        head = sum(1 for message in messages[:2] if message.role in ("tools", "system"))
        named = self._named(messages[head:])
        return (*messages[:head], *(turn._replace(calls=()) if turn.role == "tool" else turn for turn in named))

    def prove(self, messages: Sequence[Message], documents: Sequence[Encoded]) -> None:
        """By `encode_chat_completion`: of each document, and of what its last answer is generated from."""
        name = f"{self._tokenizer.file_path.name} ({self.version.value})"
        for document in documents:
            end = document.last % len(messages)
            try:
                whole = self._reference.encode(messages[: end + 1])
                prompt = self._reference.encode_prompt(messages[:end])
            except (MistralCommonException, ValueError, RuntimeError, AssertionError) as error:
                raise EncodingMismatch(
                    f"{name}: encode_chat_completion of mistral-common refuses it: {error}"
                ) from error
            _check_same(name, document.ids, whole)
            _check_same(name, document.ids[: document.trained[-1][0]], prompt)

    def _documents(self, messages: Sequence[Message]) -> Iterator[Encoded]:
        start = 0
        tools = system = ""
        if messages[start].role == "tools":
            tools, start = messages[start].content, start + 1
        if messages[start].role == "system":
            system, start = messages[start].content, start + 1
        turns = messages[start:]
        called = any(turn.calls or turn.role == "tool" for turn in turns)
        if tools or called:
            check_calls(turns, self.version)
        pieces = _Pieces(self._turn_ids, list(self._named(turns)))
        users = [index for index, turn in enumerate(turns) if turn.role == "user"]
        moves = self._moves(system=system, tools=tools, called=called)
        before = self._encoder.start()
        if self._system_apart and start and messages[start - 1].role == "system":
            before = before + self._encode_system(system)
        for number, end in enumerate([*users[1:], len(turns)] if moves else [len(turns)]):
            last = users[number] if moves else users[-1]
            ids = list(before)
            trained = []
            for index in range(end):
                turn = turns[index]
                if turn.role == "user":
                    place = (index == users[0], index == last)
                    ids += self._user_ids(pieces, index, place, system=system, tools=tools)
                elif index > last or self.version != TokenizerVersion.v2 or not (turn.calls or turn.role == "tool"):
                    begin = len(ids)
                    ids += pieces[index]
                    if turn.role == "assistant" and (index > last or not moves):
                        trained.append((begin, len(ids)))
            yield Encoded(ids, tuple(trained), last=start + end - 1)

    def _moves(self, *, system: str, tools: str, called: bool) -> bool:
        """Whether a document's start depends on which user turn is its last."""
        if self.version == TokenizerVersion.v1:
            return False
        forgets = called and self.version == TokenizerVersion.v2
        return forgets or bool(tools and not self._tools_first) or bool(system and not self._system_apart)

    def _user_ids(self, pieces: _Pieces, index: int, place: tuple[bool, bool], *, system: str, tools: str) -> list[int]:
        is_first, is_last = place
        prompt = system if system and not self._system_apart else None
        within = prompt is not None and (is_first if self.version == TokenizerVersion.v1 else is_last)
        if within or (is_first and self._reference.has_settings):
            ids = self._encode_user(pieces.turns[index].content, place, prompt)
        else:
            ids = pieces[index]
        return self._encode_tools(tools) + ids if tools and (is_first if self._tools_first else is_last) else ids

    def _encode_user(
        self, content: str, place: tuple[bool, bool], prompt: str | None, tools: list[Tool] | None = None
    ) -> list[int]:
        is_first, is_last = place
        ids: list[int] = self._encoder.encode_user_message(
            UserMessage.model_construct(content=content),
            tools,
            is_last,
            is_first,
            system_prompt=prompt,
            force_img_first=True,
            settings=self._reference.settings,
        )[0]
        return ids

    def _turn_ids(self, turn: Message) -> list[int]:
        """Of a turn by itself: what stands before the first or the last user turn is not in it."""
        match turn.role:
            case "user":
                return self._encode_user(turn.content, (False, False), None)
            case "assistant":
                calls = [_mistral_call(call) for call in turn.calls]
                answer = AssistantMessage.model_construct(content=turn.content or None, tool_calls=calls or None)
                return list(self._encoder.encode_assistant_message(answer, False))
            case "tool":
                # The normalizer of the versions up to v3 takes an empty result for an empty object.
                content = turn.content or ("" if self._system_apart else "{}")
                result = ToolMessage.model_construct(
                    content=content, tool_call_id=turn.call_id, name=turn.calls[0].name
                )
                return list(self._encoder.encode_tool_message(result, False)[0])
        raise NotEncodable(f"role {turn.role}")

    def _named(self, turns: Sequence[Message]) -> Iterator[Message]:
        """Turns with ids that Mistral takes; each result with its call, and, from v11 on, in the order of the calls."""
        calls: tuple[ToolCall, ...] = ()
        results: list[Message] = []
        for turn in turns:
            if turn.role == "tool":
                results.append(turn)
                continue
            yield from self._results(results, calls)
            results, calls = [], turn.calls
            yield turn._replace(calls=tuple(call._replace(id=mistral_call_id(call.id)) for call in calls))
        yield from self._results(results, calls)

    def _results(self, results: list[Message], calls: tuple[ToolCall, ...]) -> Iterator[Message]:
        order = {call.id: place for place, call in enumerate(calls)}
        if self.version >= TokenizerVersion.v11:
            results = sorted(results, key=lambda result: order[result.call_id])
        for result in results:
            call = calls[order[result.call_id]]
            yield result._replace(call_id=mistral_call_id(result.call_id), calls=(call,))

    def _tools_ids(self, tools: str) -> list[int]:
        """What a user turn begins with where it carries these definitions."""
        known = read_tools(tools)
        alone, behind = (self._encode_user("", (True, True), None, given) for given in (None, known))
        return behind[: len(behind) - len(alone)]

    def _system_ids(self, system: str) -> list[int]:
        return list(self._encoder.encode_system_message(SystemMessage.model_construct(content=system))[0])

    def encode_text(self, text: str) -> Encoded:
        ids = self._tokenizer.encode(text, bos=True, eos=True)
        return Encoded(ids, ((1, len(ids)),))

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids))


def _check_same(name: str, ours: list[int], theirs: list[int]) -> None:
    if ours != theirs:
        pairs = zip(ours, theirs, strict=False)
        place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))
        raise EncodingMismatch(
            f"{name}: token {place} of {len(ours)} is not that of mistral-common's encode_chat_completion"
        )


class _Pieces:
    """Ids of a row's turns by themselves, each encoded when it is asked for, and once."""

    def __init__(self, encode: Callable[[Message], list[int]], turns: Sequence[Message]) -> None:
        self.turns = turns
        self._encode = encode
        self._encoded: list[list[int] | None] = [None] * len(turns)

    def __getitem__(self, index: int) -> list[int]:
        ids = self._encoded[index]
        if ids is None:
            ids = self._encoded[index] = self._encode(self.turns[index])
        return ids


def _mistral_call(call: ToolCall) -> MistralCall:
    function = FunctionCall.model_construct(name=call.name, arguments=call.arguments)
    return MistralCall.model_construct(id=call.id, function=function)
