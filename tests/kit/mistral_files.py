"""Tokenizer files of Mistral: those that mistral-common's wheel carries, and later versions that it does not."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

WHEEL_FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v3-tekken": "tekken_240718.json",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
}
RELABELLED = ("v7-tekken", "v11", "v13", "v15")
_LATER = (
    "[ARGS]",
    "[CALL_ID]",
    "[AUDIO]",
    "[BEGIN_AUDIO]",
    "[THINK]",
    "[/THINK]",
    "[MODEL_SETTINGS]",
    "[/MODEL_SETTINGS]",
)
_MERGES = 8000
"""Tokens that are kept of the file's 150,000, so that it loads in no time."""


def wheel_file(version: str) -> Path:
    return Path(str(files("mistral_common") / "data" / WHEEL_FILES[version]))


@cache
def _first_tokens() -> str:
    content: dict[str, Any] = json.loads(wheel_file("v3-tekken").read_bytes())
    return json.dumps(content | {"vocab": content["vocab"][:_MERGES]})


def write_relabelled(folder: Path, version: str, *, without: tuple[str, ...] = ()) -> Path:
    """tekken.json of a version of which no file is published in a package: the wheel's v3, said to be of that version.

    It has all control tokens of v15 but those in `without`. Returns its path.
    """
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    content = json.loads(_first_tokens())
    number = version.partition("-")[0]
    known = [dict(token) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
    later = [name for name in _LATER if name not in without]
    known += [{"rank": len(known) + at, "token_str": name, "is_control": True} for at, name in enumerate(later)]
    content["config"] |= {"version": number, "default_vocab_size": 1000 + _MERGES}
    content["special_tokens"] = known
    if number == "v15":
        content["model_settings_builder"] = {
            "reasoning_effort": {
                "type": "enum",
                "accepts_none": True,
                "default": "none",
                "values": ["none", "high"],
            }
        }
    path = folder / "tekken.json"
    path.write_text(json.dumps(content))
    return path
