"""Tokenizer files of Mistral: which version each is, by its control pieces, and that nothing in it disagrees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV1,
    InstructTokenizerV2,
    InstructTokenizerV3,
    InstructTokenizerV7,
    InstructTokenizerV11,
    InstructTokenizerV13,
    InstructTokenizerV15,
)
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from finetune_trainer.tokenizers.protocol import TokenizerContradicts, TokenizerRefused

_ENCODERS: Final[dict[TokenizerVersion, Any]] = {
    TokenizerVersion.v1: InstructTokenizerV1,
    TokenizerVersion.v2: InstructTokenizerV2,
    TokenizerVersion.v3: InstructTokenizerV3,
    TokenizerVersion.v7: InstructTokenizerV7,
    TokenizerVersion.v11: InstructTokenizerV11,
    TokenizerVersion.v13: InstructTokenizerV13,
    TokenizerVersion.v15: InstructTokenizerV15,
}
_NAMED = re.compile(r"\.model\.(v\d+)(?:m\d+)?$")


def read_sentencepiece(path: Path) -> SentencePieceTokenizer:
    """The version is read from the control pieces, for the name lies: v3 is often called `tokenizer.model`.

    A name that ends in another version is refused. Raises TokenizerRefused or TokenizerContradicts.
    """
    try:
        probe = SentencePieceTokenizer(path, TokenizerVersion.v1)
    except (RuntimeError, OSError) as error:
        raise TokenizerRefused(f"{path.name} is no SentencePiece model: {error}") from error
    version = _version_of({probe.id_to_piece(number) for number in probe.special_ids})
    if (named := _NAMED.search(path.name)) is not None and named[1] != version.value:
        raise TokenizerContradicts(
            f"{path.name} has the control pieces of {version.value}, its name says {named[1]}; rename or replace it"
        )
    return SentencePieceTokenizer(path, version)


def _version_of(control: set[str]) -> TokenizerVersion:
    if "[SYSTEM_PROMPT]" in control:
        return TokenizerVersion.v7
    if "[PREFIX]" in control:
        return TokenizerVersion.v3
    return TokenizerVersion.v2 if "[INST]" in control else TokenizerVersion.v1


def read_tekken(path: Path) -> Tekkenizer:
    """The version stands in the file. Raises TokenizerRefused."""
    try:
        return Tekkenizer.from_file(path)
    except Exception as error:  # whatever the library meets first in a file that is not Tekken's
        raise TokenizerRefused(f"{path.name}: {error}") from error


def encoder_for(tokenizer: SentencePieceTokenizer | Tekkenizer) -> Any:
    """Mistral's encoder of this version.

    Raises TokenizerContradicts when the file lacks a control piece of its version, TokenizerRefused when a text can
    become one.
    """
    name, version = tokenizer.file_path.name, tokenizer.version
    try:
        encoder = _ENCODERS[version](tokenizer)
    except (AssertionError, ValueError) as error:
        raise TokenizerContradicts(f"{name} says {version.value} and lacks what that needs: {error}") from error
    special = tokenizer.special_ids
    for piece in map(tokenizer.id_to_piece, sorted(special)):
        if not special.isdisjoint(tokenizer.encode(piece, bos=False, eos=False)):
            raise TokenizerRefused(f"{name} makes a control token of the text {piece!r}")
    return encoder
