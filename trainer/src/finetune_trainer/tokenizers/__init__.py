"""Mistral's own encoders and Hugging Face tokenizers behind one protocol: which of them a model's folder holds."""

from __future__ import annotations

from pathlib import Path

from mistral_common.tokens.tokenizers.base import TokenizerVersion

from finetune_trainer.tokenizers.huggingface import HuggingFaceChatTokenizer, read_settings, template_source
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer
from finetune_trainer.tokenizers.protocol import ChatTokenizer, Encoded, Message, NotEncodable, TokenizerRefused

__all__ = [
    "FILE_NAMES",
    "ChatTokenizer",
    "Encoded",
    "HuggingFaceChatTokenizer",
    "Message",
    "MistralChatTokenizer",
    "NotEncodable",
    "TokenizerRefused",
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


def load(folder: Path) -> ChatTokenizer:
    """The tokenizer of a model's folder. Raises TokenizerRefused.

    Mistral's own file comes first: published chat templates drop or misplace the system prompt. A plain v1 file says
    nothing of chats, so a template beside it wins: fine-tunes of Mistral 0.1 bring their own.
    """
    if (path := folder / "tekken.json").is_file():
        return MistralChatTokenizer.from_tekken(path)
    sentencepiece = sorted(folder.glob("tokenizer.model*"), reverse=True)
    if sentencepiece:
        mistral = MistralChatTokenizer.from_sentencepiece(sentencepiece[0])
        if mistral.version != TokenizerVersion.v1 or not _has_template(folder):
            return mistral
    if (folder / "tokenizer.json").is_file():
        return HuggingFaceChatTokenizer.from_folder(folder)
    raise TokenizerRefused("there is none of tekken.json, tokenizer.model and tokenizer.json")


def _has_template(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() and template_source(folder, read_settings(folder)) is not None
