"""Mistral's own encoders and Hugging Face tokenizers behind one protocol: which of them a model's folder holds."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

from finetune_trainer.tokenizers.huggingface import HuggingFaceChatTokenizer, read_settings, template_source
from finetune_trainer.tokenizers.protocol import (
    ChatTokenizer,
    Encoded,
    EncodingMismatch,
    Message,
    NotEncodable,
    TokenizerContradicts,
    TokenizerRefused,
    ToolCall,
)
from finetune_trainer.tokenizers.proven import Proven

__all__ = [
    "FILE_NAMES",
    "LIBRARIES",
    "ChatTokenizer",
    "Encoded",
    "EncodingMismatch",
    "HuggingFaceChatTokenizer",
    "Message",
    "NotEncodable",
    "Proven",
    "TokenizerContradicts",
    "TokenizerRefused",
    "ToolCall",
    "load",
]

FILE_NAMES = (
    "tekken.json",
    "tokenizer.model",
    "tokenizer.model.v*",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Globs of the files in a model's folder that make up its tokenizer."""


LIBRARIES: Final = {
    name: version(name) for name in ("jinja2", "mistral-common", "sentencepiece", "tiktoken", "tokenizers")
}
"""Versions of what makes ids of texts."""


def load(folder: Path) -> ChatTokenizer:
    """The tokenizer of a model's folder. Raises TokenizerRefused.

    Mistral's own file comes first: published chat templates drop or misplace the system prompt. A plain v1 file says
    nothing of chats, so a template beside it wins: fine-tunes of Mistral 0.1 bring their own.
    """
    if (mistral := _load_mistral(folder)) is not None:
        return mistral
    if (folder / "tokenizer.json").is_file():
        return HuggingFaceChatTokenizer.from_folder(folder)
    raise TokenizerRefused("there is none of tekken.json, tokenizer.model and tokenizer.json")


def _load_mistral(folder: Path) -> ChatTokenizer | None:
    tekken = folder / "tekken.json"
    sentencepiece = sorted(folder.glob("tokenizer.model*"), reverse=True)
    if not tekken.is_file() and not sentencepiece:
        return None
    # Half of the time in which a pod starts, so only a pod that needs them imports Mistral's encoders.
    from finetune_trainer.tokenizers.mistral import MistralChatTokenizer

    if tekken.is_file():
        return MistralChatTokenizer.from_tekken(tekken)
    tokenizer = MistralChatTokenizer.from_sentencepiece(sentencepiece[0])
    return None if tokenizer.version.value == "v1" and _has_template(folder) else tokenizer


def _has_template(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() and template_source(folder, read_settings(folder)) is not None
