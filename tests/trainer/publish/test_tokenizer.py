"""The published tokenizer, loaded by plain transformers and mistral-common: the ids that were trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from conversations import conversations
from finetune_trainer.publish.tokenizer import write_tokenizer
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import ChatTokenizer, HuggingFaceChatTokenizer, load
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer
from finetune_trainer.tokenizers.template_input import template_input
from mistral_files import RELABELLED, wheel_file, write_relabelled
from plain_process import told_by
from preloaded import Preloaded
from tiny_models import CHATML, TokenizerKind
from tiny_models import write_tokenizer as write_tiny

TEXTS = ("Rain  in Tromsø.\n\n\n    x = 1 ", "日本 \t 12345 👩‍👩‍👧")
SENTENCEPIECE = ("v1", "v2", "v3", "v7")
TEKKEN = ("v3-tekken", *RELABELLED)
"""The first tokens of a whole vocabulary."""
TEXTS_OF = ("v3", "v13", "Hugging Face")
"""One of each kind: of texts, versions make the same."""
NAMES = {"v1": "tokenizer.model.v1", "v2": "tokenizer.model.v2", "v3": "tokenizer.model.v3", "v7": "tokenizer.model.v7"}


def base_of(version: str, folder: Path) -> Path:
    """The tokenizer of a base model by the name that it often has, beside a template that is not its encoder's."""
    folder.mkdir()
    if version == "Hugging Face":
        write_tiny(folder, TokenizerKind.HUGGING_FACE)
        return folder
    if version not in SENTENCEPIECE:
        write_relabelled(folder, version, without=("[THINK]", "[/THINK]") if version in ("v7-tekken", "v11") else ())
    else:
        shutil.copy(wheel_file(version), folder / "tokenizer.model")
    if version != "v1":
        (folder / "tokenizer.json").write_text('{"of": "another"}')
        (folder / "tokenizer_config.json").write_text('{"chat_template": "wrong", "eos_token": "</s>"}')
        (folder / "chat_template.jinja").write_text("wrong, too")
    return folder


def chats_of(tokenizer: ChatTokenizer, version: str) -> list[tuple[dict[str, Any], list[int]]]:
    """What a person would give to `apply_chat_template`, and the ids that were trained of it."""
    if isinstance(tokenizer, HuggingFaceChatTokenizer):
        # Behind the EOS of the last answer ChatML has a line feed, which is not trained.
        rows: Sequence[Messages] = [row for row in conversations(1) if "\n" not in row[-1].content]
        return [(_asked(row), [*document.ids, 0]) for row in rows for document in tokenizer.encode_messages(row)]
    number = int(version.partition("-")[0][1:])
    return [
        (_asked(row[: document.last + 1], number), document.ids)
        for row in conversations(number)
        for document in tokenizer.encode_messages(row)
    ]


def _asked(messages: Messages, number: int = 0) -> dict[str, Any]:
    turns, tools = template_input(messages)
    order = {call["id"]: place for turn in turns for place, call in enumerate(turn.get("tool_calls", ()))}
    for at, turn in enumerate(turns):
        if turn["role"] == "tool":
            if number in (2, 3):  # these versions write JSON as JSON
                turns[at] = turn | {"content": _read(turn["content"])}
            if number >= 11 and turns[at - 1]["role"] == "tool":  # and these the results in the order of the calls
                turns[at - 1 : at + 1] = sorted(turns[at - 1 : at + 1], key=lambda one: order[one["tool_call_id"]])
    return {"messages": turns, "tools": tools}


def _read(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content


@pytest.fixture(scope="module")
def plain(preloaded: Preloaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of each version what plain libraries make of its folder."""
    home = tmp_path_factory.mktemp("published")
    asked, expected = {}, {}
    for version in (*SENTENCEPIECE, *TEKKEN, "Hugging Face"):
        base = base_of(version, home / f"{version} base")
        tokenizer = load(base)
        chats = chats_of(tokenizer, version)
        for chatting in (True, False):
            if not chatting and version not in TEXTS_OF:
                continue
            folder = home / f"{version} {chatting}"
            folder.mkdir()
            write_tokenizer(tokenizer, base, folder, chats=chatting)
            texts = [] if chatting else TEXTS
            asked[str(folder)] = {"chats": [chat for chat, _ in chats] if chatting else [], "texts": texts}
            expected[str(folder)] = {
                "chats": [ids for _, ids in chats] if chatting else [],
                "texts": [_without_end(tokenizer.encode_text(text).ids, tokenizer) for text in texts],
            }
    seen = told_by("plain_encoding.py", given=asked, preloaded=preloaded)
    assert seen["ours"] == []
    return {"home": home, "ids": seen["ids"], "expected": expected}


def _without_end(ids: list[int], tokenizer: ChatTokenizer) -> list[int]:
    assert ids[-1] == tokenizer.eos_id
    return ids[:-1]


@pytest.mark.parametrize("version", [*SENTENCEPIECE, *TEKKEN, "Hugging Face"])
def test_apply_chat_template_gives_the_trained_ids_of_every_form_of_conversation(
    plain: dict[str, Any], version: str
) -> None:
    folder = str(plain["home"] / f"{version} True")
    assert plain["expected"][folder]["chats"]
    seen = plain["ids"][folder]["chats"]
    if version == "Hugging Face":
        seen = [[*ids[:-1], 0] for ids in seen]
    assert seen == plain["expected"][folder]["chats"]


@pytest.mark.parametrize("version", [*SENTENCEPIECE, *TEKKEN])
def test_mistral_common_finds_the_version_in_the_name_and_gives_the_trained_ids(
    plain: dict[str, Any], version: str
) -> None:
    folder = str(plain["home"] / f"{version} True")
    assert plain["ids"][folder]["mistral"] == plain["expected"][folder]["chats"]
    names = {path.name for path in Path(folder).iterdir()}
    assert names == {
        NAMES.get(version, "tekken.json"),
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


@pytest.mark.parametrize("version", TEXTS_OF)
def test_where_no_conversations_were_trained_texts_have_the_trained_ids_and_there_is_no_template(
    plain: dict[str, Any], version: str
) -> None:
    folder = str(plain["home"] / f"{version} False")
    assert plain["ids"][folder]["texts"] == plain["expected"][folder]["texts"]
    assert plain["ids"][folder]["template"] is False


def test_a_whole_vocabulary_of_tekken_is_published_with_all_its_merges(tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "published"
    base.mkdir()
    folder.mkdir()
    shutil.copy(wheel_file("v3-tekken"), base / "tekken.json")
    tokenizer = load(base)

    write_tokenizer(tokenizer, base, folder, chats=False)

    published = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert published.get_vocab_size() == tokenizer.vocab_size
    texts = [*TEXTS, *(message.content for row in conversations(3) for message in row)]
    assert [published.encode(text).ids for text in texts] == [
        _without_end(tokenizer.encode_text(text).ids, tokenizer) for text in texts
    ]


def test_a_tokenizer_of_hugging_face_goes_along_with_its_template(tmp_path: Path) -> None:
    base, folder = base_of("Hugging Face", tmp_path / "base"), tmp_path / "published"
    folder.mkdir()

    write_tokenizer(load(base), base, folder, chats=True)

    assert (folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (folder / "chat_template.jinja").read_text() == CHATML
    settings = json.loads((base / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    published = json.loads((folder / "tokenizer_config.json").read_text())
    assert published == settings | {"tokenizer_class": "PreTrainedTokenizerFast"}


def test_a_classifier_pads_with_the_token_that_its_configuration_skips(tmp_path: Path) -> None:
    base, folder = base_of("v13", tmp_path / "base"), tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text('{"pad_token_id": 10}')

    write_tokenizer(load(base), base, folder, chats=False)

    pad = json.loads((folder / "tokenizer_config.json").read_text())["pad_token"]
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][pad] == 10


@pytest.mark.parametrize("version", ["v3", "v13"])
def test_what_pads_is_what_the_published_tokenizer_pads_with_and_never_the_end_of_an_answer(
    tmp_path: Path, version: str
) -> None:
    """A classifier's configuration takes it; of tekken.json, mistral-common pads with it whatever is written beside."""
    base, folder = base_of(version, tmp_path / "base"), tmp_path / "published"
    folder.mkdir()
    tokenizer = load(base)
    assert isinstance(tokenizer, MistralChatTokenizer)

    write_tokenizer(tokenizer, base, folder, chats=False)

    pad = json.loads((folder / "tokenizer_config.json").read_text())["pad_token"]
    assert pad == tokenizer.published.id_to_piece(tokenizer.pad_id)
    assert pad == {"v3": "<unk>", "v13": "<pad>"}[version]


def test_padding_that_a_configuration_does_not_have_is_left_to_the_tokenizer(tmp_path: Path) -> None:
    base, folder = base_of("Hugging Face", tmp_path / "base"), tmp_path / "published"
    folder.mkdir()
    (folder / "config.json").write_text('{"pad_token_id": -1}')
    write_tokenizer(load(base), base, folder, chats=False)
    assert json.loads((folder / "tokenizer_config.json").read_text())["pad_token"] == "<|endoftext|>"
