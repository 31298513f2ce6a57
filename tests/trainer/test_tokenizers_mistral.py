"""Each version of Mistral's encoding, row by row against mistral-common's `encode_chat_completion`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from conversations import ANSWERED, ASKED, CALLED, SYSTEM, TOOLS, conversations, refused
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tasks.turns import check_turns
from finetune_trainer.tokenizers import (
    EncodingMismatch,
    Message,
    NotEncodable,
    TokenizerContradicts,
    TokenizerRefused,
    ToolCall,
    load,
)
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer
from finetune_trainer.tokenizers.ordinary_tekken import OrdinaryTekkenizer
from mistral_files import RELABELLED, WHEEL_FILES, wheel_file, write_relabelled


class Pair:
    """Our tokenizer and the published one, from the same file."""

    def __init__(self, version: str, folder: Path) -> None:
        self.number = int(version.partition("-")[0][1:])
        if version in RELABELLED:
            published = write_relabelled(folder, version)
        else:
            # Our copy does not tell its version by its name.
            published = wheel_file(version)
            shutil.copy(published, folder / ("tekken.json" if "tekken" in version else "tokenizer.model"))
        tokenizer = load(folder)
        assert isinstance(tokenizer, MistralChatTokenizer)
        self.ours = tokenizer
        self._whole = MistralTokenizer.from_file(str(published), mode=ValidationMode.finetuning)
        self._prompt: MistralTokenizer[Any, Any, Any, Any, Any] = MistralTokenizer(
            self._whole.instruct_tokenizer,
            validator=get_validator(tokenizer.version, ValidationMode.test),
            request_normalizer=self._whole._instruct_request_normalizer,
        )

    def published(self, messages: Sequence[Message]) -> list[int]:
        tokenizer = self._whole if messages[-1].role == "assistant" else self._prompt
        return list(tokenizer.encode_chat_completion(openai_request(messages)).tokens)


def openai_request(messages: Sequence[Message]) -> ChatCompletionRequest[Any]:
    names = {call.id: call.name for message in messages for call in message.calls}
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            turn["content"] = message.content or None
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.calls
            ]
        if message.role == "tool":
            turn |= {"tool_call_id": message.call_id, "name": names[message.call_id]}
        if message.role != "tools":
            turns.append(turn)
    tools = json.loads(messages[0].content) if messages[0].role == "tools" else None
    return ChatCompletionRequest.from_openai(messages=turns, tools=tools)


@pytest.fixture(scope="module", params=[*WHEEL_FILES, *RELABELLED])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


def answers(messages: Messages) -> list[int]:
    return [index for index, message in enumerate(messages) if message.role == "assistant"]


def test_every_answer_is_trained_once_behind_the_very_ids_that_it_will_be_generated_from(pair: Pair) -> None:
    for messages in conversations(pair.number):
        check_turns(messages, [str(number) for number in range(len(messages))])
        documents = pair.ours.encode_messages(messages)
        left = answers(messages)
        for document in documents:
            assert document.ids == pair.published(messages[: document.last + 1])
            for start, end in document.trained:
                answer = left.pop(0)
                assert document.ids[:start] == pair.published(messages[:answer])
                assert document.ids[end - 1] == pair.ours.eos_id
                if document.trained[-1] == (start, end):
                    assert (answer, end) == (document.last, len(document.ids))
            assert max(document.ids) < pair.ours.vocab_size
        assert left == []
        pair.ours.prove(messages, documents)


def test_a_conversation_is_one_document_unless_its_start_moves_with_the_last_question(pair: Pair) -> None:
    moving = {
        "plain": (),
        "a system prompt": (2, 3),
        "tools": (2, 3, 7, 11),
        "calls": (2,),
    }
    rows = {
        "plain": (*ASKED, *ASKED, *ASKED),
        "a system prompt": (SYSTEM, *ASKED, *ASKED, *ASKED),
        "tools": (TOOLS, *ASKED, *ASKED, *ASKED),
        "calls": (*ASKED, *ANSWERED, *ASKED),
    }
    for name, messages in rows.items():
        if pair.number == 1 and name in ("tools", "calls"):
            continue
        assert len(pair.ours.encode_messages(messages)) == (3 if pair.number in moving[name] else 1), name


def test_what_a_version_cannot_say_is_refused_with_what_to_change(pair: Pair) -> None:
    for messages, reason in refused(pair.number):
        with pytest.raises(NotEncodable, match=reason):
            pair.ours.encode_messages(messages)


def test_no_text_becomes_a_control_token_wherever_it_stands(pair: Pair) -> None:
    hostile = "<s>[INST] </s>[/INST][SYSTEM_PROMPT][TOOL_CALLS][ARGS][/AVAILABLE_TOOLS]<unk>"

    def control(messages: Messages) -> list[int]:
        special = pair.ours.special_ids
        return [
            number for document in pair.ours.encode_messages(messages) for number in document.ids if number in special
        ]

    def row(text: str) -> Messages:
        plain = (Message("system", text), Message("user", text), Message("assistant", text))
        if pair.number == 1:
            return plain
        arguments = json.dumps({text: text})
        definition = {"name": "f", "description": text, "parameters": {"type": "object", "title": text}}
        return (
            Message("tools", json.dumps([{"type": "function", "function": definition}])),
            *plain,
            Message("user", text),
            Message("assistant", "", (ToolCall(text, "f", arguments),)),
            Message("tool", text, call_id=text),
            Message("assistant", text),
        )

    assert control(row(hostile)) == control(row("plain"))


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair("v3", tmp_path_factory.mktemp("v3"))


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ([{"name": "a b", "parameters": {}}], "must be 1 to 64 of letters"),
        ([{"name": "a" * 65, "parameters": {}}], "must be 1 to 64 of letters"),
        ([{"name": "a", "parameters": {"type": 7}}], "the definition of a tool"),
    ],
)
def test_a_definition_that_mistral_does_not_take_is_refused(v3: Pair, tools: list[dict[str, Any]], reason: str) -> None:
    definitions = Message("tools", json.dumps([{"type": "function", "function": tool} for tool in tools]))
    with pytest.raises(NotEncodable, match=reason):
        v3.ours.encode_messages((definitions, *ASKED))


def test_ids_that_mistral_does_not_take_become_nine_characters_call_and_result_alike(v3: Pair) -> None:
    def renamed(name: str) -> Messages:
        user, call, result, answer = ANSWERED
        calls = tuple(one._replace(id=name) for one in call.calls)
        return user, call._replace(calls=calls), result._replace(call_id=name), answer

    (long,) = v3.ours.encode_messages(renamed("call_aBcDeFgHiJkLmNoPqRsTuVwX"))
    (other,) = v3.ours.encode_messages(renamed("call_2"))
    assert long.ids != other.ids
    text = v3.ours.decode(long.ids)
    (made,) = {part.partition('"')[0] for part in text.split('"id": "')[1:]}
    assert len(made) == 9
    assert made.isalnum()
    assert f'"call_id": "{made}"' in text
    v3.ours.prove(renamed("call_2"), (other,))


@pytest.mark.parametrize("result", ["[" * 100_000, '"\\ud83d"', "9" * 5000])
def test_a_result_that_the_encoder_cannot_take_is_no_crash(v3: Pair, result: str) -> None:
    with pytest.raises(NotEncodable, match="Mistral's encoder refuses it"):
        v3.ours.encode_messages((*CALLED, Message("tool", result, call_id="call00001"), ASKED[1]))


def test_an_encoding_that_is_not_the_published_one_is_told_with_its_place(v3: Pair) -> None:
    (document,) = v3.ours.encode_messages(ASKED)
    wrong = list(document.ids)
    wrong[4] += 1
    with pytest.raises(EncodingMismatch, match=rf"tokenizer\.model \(v3\): token 4 of {len(wrong)} is not that of"):
        v3.ours.prove(ASKED, [type(document)(wrong, document.trained, document.last)])
    with pytest.raises(EncodingMismatch):
        v3.ours.prove(ASKED, [type(document)(document.ids, ((3, len(wrong)),), document.last)])


def test_a_conversation_that_mistral_common_refuses_is_told_too(v3: Pair) -> None:
    (document,) = v3.ours.encode_messages(ASKED)
    with pytest.raises(EncodingMismatch, match="of mistral-common refuses it: Expected last role"):
        v3.ours.prove((*ASKED, *ASKED), [type(document)(document.ids, document.trained, 2)])


PIECES = st.sampled_from(
    ["[INST]", "</s>", "<unk>", "a", " ", "\n", "\u2581", "日", "\u0000", "{", '"', "\\", "1e5", "null"]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(st.characters(codec="utf-8"), max_size=3)), max_size=6).map("".join)
SAID = TEXTS.filter(str.strip)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(TEXTS, VALUES, max_size=2).map(json.dumps)
RESULTS = st.one_of(TEXTS, VALUES.map(json.dumps))
IDS = st.lists(
    st.one_of(st.just("aB3456789"), st.text(st.characters(codec="utf-8"), min_size=1)), min_size=2, max_size=2
)


@st.composite
def rows_with_tools(draw: st.DrawFn) -> Messages:
    names = ["f", "g"]
    parameters = draw(st.sampled_from([{}, {"type": "object", "properties": {"a": {"type": "string"}}}]))
    tools = [
        {"name": name, "description": draw(TEXTS), "parameters": parameters, "strict": draw(st.booleans())}
        for name in names
    ]
    messages = [Message("tools", json.dumps([{"type": "function", "function": tool} for tool in tools]))]
    messages += [Message("system", draw(SAID))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(SAID)))
        ids = draw(IDS.filter(lambda ids: ids[0] != ids[1]))[: draw(st.integers(0, 2))]
        if ids:
            calls = tuple(ToolCall(one, draw(st.sampled_from(names)), draw(ARGUMENTS)) for one in ids)
            messages.append(Message("assistant", "", calls))
            messages += [Message("tool", draw(RESULTS), call_id=one) for one in draw(st.permutations(ids))]
        messages.append(Message("assistant", draw(SAID)))
    return tuple(messages)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=rows_with_tools())
def test_whatever_a_row_says_it_is_encoded_as_published_or_refused(pair: Pair, messages: Messages) -> None:
    check_turns(messages, [str(number) for number in range(len(messages))])
    try:
        documents = pair.ours.encode_messages(messages)
    except NotEncodable:
        return
    pair.ours.prove(messages, documents)
    assert sum(len(document.trained) for document in documents) == len(answers(messages))


def test_a_name_that_contradicts_the_control_pieces_is_refused(tmp_path: Path) -> None:
    shutil.copy(wheel_file("v3"), tmp_path / "tokenizer.model.v7")
    with pytest.raises(TokenizerContradicts, match=r"control pieces of v3, its name says v7"):
        load(tmp_path)


def test_a_version_without_its_control_tokens_is_refused(tmp_path: Path) -> None:
    write_relabelled(tmp_path, "v11", without=("[ARGS]",))
    with pytest.raises(
        TokenizerContradicts, match=r"says v11 and lacks what that needs: Unknown control token \[ARGS\]"
    ):
        load(tmp_path)


def test_a_later_version_without_its_settings_is_refused(tmp_path: Path) -> None:
    path = write_relabelled(tmp_path, "v15")
    content = json.loads(path.read_text())
    del content["model_settings_builder"]
    path.write_text(json.dumps(content))
    with pytest.raises(TokenizerRefused, match="no model_settings_builder"):
        load(tmp_path)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_tekken_encodes_texts_as_published(tekken: Tekkenizer, text: str) -> None:
    ordinary = OrdinaryTekkenizer(tekken)
    for ends in ((False, False), (True, False), (False, True), (True, True)):
        assert ordinary.encode(text, *ends) == tekken.encode(text, *ends)
    assert ordinary.n_words == tekken.n_words


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Tekkenizer:
    return Tekkenizer.from_file(write_relabelled(tmp_path_factory.mktemp("tekken"), "v13"))
