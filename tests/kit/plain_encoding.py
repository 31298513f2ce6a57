"""Ids that plain transformers and mistral-common make with a published folder's tokenizer. Run as a file.

`python plain_encoding.py` reads a JSON object `{folder: {"chats": [{"messages", "tools"}], "texts": [text]}}` and
prints `{"ids": {folder: {"chats", "texts", "mistral"}}, "ours": modules of this project}`. `mistral` are the ids of
mistral-common's own encoder for the chats, null where the folder has no file of its.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.utils import get_one_valid_tokenizer_file
from transformers import AutoTokenizer


def encoded(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [
        tokenizer.apply_chat_template(chat["messages"], tools=chat["tools"], return_dict=False)
        for chat in asked["chats"]
    ]
    texts = [tokenizer(text)["input_ids"] for text in asked["texts"]]
    return {
        "chats": chats,
        "texts": texts,
        "mistral": _by_mistral(folder, asked["chats"]),
        "template": tokenizer.chat_template is not None,
    }


def _by_mistral(folder: Path, chats: list[dict[str, Any]]) -> list[list[int]] | None:
    try:
        name = get_one_valid_tokenizer_file([path.name for path in folder.iterdir()])
    except ValueError:
        return None
    tokenizer = MistralTokenizer.from_file(str(folder / name), mode=ValidationMode.finetuning)
    return [
        tokenizer.encode_chat_completion(
            ChatCompletionRequest.from_openai([_openai(turn) for turn in chat["messages"]], tools=chat["tools"])
        ).tokens
        for chat in chats
    ]


def _openai(turn: dict[str, Any]) -> dict[str, Any]:
    """Objects as JSON, no text where a turn only calls."""
    if isinstance(turn["content"], dict | list | float | int):
        turn = turn | {"content": json.dumps(turn["content"])}
    if "tool_calls" not in turn:
        return turn
    calls = [
        call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
        for call in turn["tool_calls"]
    ]
    return turn | {"content": turn["content"] or None, "tool_calls": calls}


if __name__ == "__main__":
    asked: dict[str, dict[str, Any]] = json.load(sys.stdin)
    ids = {folder: encoded(Path(folder), each) for folder, each in asked.items()}
    print(json.dumps({"ids": ids, "ours": [name for name in sys.modules if name.startswith("finetune_")]}))
