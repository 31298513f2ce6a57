"""Tools as Mistral's encoders take them: their definitions, names and ids of calls."""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Sequence
from typing import Any, Final

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.tool_calls import Tool
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.utils.json_utils import validate_json_schema_by_draft7

from finetune_trainer.tokenizers.protocol import Message, NotEncodable

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_ID_CHARACTERS: Final = string.digits + string.ascii_letters


def read_tools(definitions: str) -> list[Tool]:
    """What a message of role `tools` holds. Raises NotEncodable."""
    return [_read_tool(tool) for tool in json.loads(definitions)]


def _read_tool(definition: dict[str, Any]) -> Tool:
    try:
        tool = Tool.from_openai(definition)
        validate_json_schema_by_draft7(value=tool.function.parameters)
    except (MistralCommonException, ValueError, RecursionError) as error:
        raise NotEncodable(f"Mistral's encoder does not take the definition of a tool: {error}") from error
    _check_name(tool.function.name)
    return tool


def check_calls(turns: Sequence[Message], version: TokenizerVersion) -> None:
    """What mistral-common's validators check, in words that say what to change. Raises NotEncodable."""
    if version == TokenizerVersion.v1:
        raise NotEncodable("has tools; this model's tokenizer is v1, and only v2 and later know tools")
    results = 0
    for turn in turns:
        if turn.calls and turn.content and version < TokenizerVersion.v7:
            raise NotEncodable(
                f"an answer has a text and calls a tool; with a tokenizer of {version.value} it has one of them: "
                "leave the text out"
            )
        results = results + 1 if turn.role == "tool" else 0
        if results > 1 and version == TokenizerVersion.v2:
            raise NotEncodable("several results follow one answer; a tokenizer of v2 knows one: call one tool a turn")
        for call in turn.calls:
            _check_name(call.name)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise NotEncodable(f"the tool's name {name[:80]!r} must be 1 to 64 of letters, digits, '_' and '-'")


def mistral_call_id(given: str) -> str:
    """An id of nine letters and digits, as Mistral's models are trained on: OpenAI's are longer."""
    if _CALL_ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.blake2b(given.encode(), digest_size=8).digest(), "big")
    return "".join(_ID_CHARACTERS[number // 62**place % 62] for place in range(9))
