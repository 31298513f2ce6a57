"""Tokenizer files of which transformers, vLLM and mistral-common make the ids that were trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Tokenizer

from finetune_trainer.publish.chat_template import mistral_template
from finetune_trainer.publish.fast_tokenizer import fast_tokenizer
from finetune_trainer.tokenizers import ChatTokenizer
from finetune_trainer.tokenizers.huggingface import read_settings, template_source
from finetune_trainer.tokenizers.mistral import MistralChatTokenizer

TEMPLATE: Final = "chat_template.jinja"
SETTINGS: Final = "tokenizer_config.json"
VOCABULARY: Final = "tokenizer.json"

_AS_IN_THE_FILE: Final = {"tokenizer_class": "PreTrainedTokenizerFast"}
"""transformers' other classes, such as LlamaTokenizer, take only the vocabulary of tokenizer.json, and cut by rules of
their own."""
_OVERRIDING: Final = ("add_bos_token", "add_eos_token", "auto_map", "chat_template")
"""What tokenizer.json and the template's own file say otherwise, or nothing of, and code that is not published."""


def write_tokenizer(trained: ChatTokenizer, base: Path, folder: Path, *, chats: bool) -> None:
    """Write to `folder` the tokenizer that was loaded from `base`, and no file that any reader would take for another.

    Mistral's own file keeps its content and gets the name from which mistral-common takes its version:
    `tokenizer.model` is v1 to it, whatever it holds. What Hugging Face's files of the base said beside it is written
    anew from that file. A tokenizer that is only Hugging Face's goes along as it is.

    Args:
        chats: whether conversations were trained. Only then there is a chat template: without one
            `apply_chat_template` refuses to write what the model never saw, and `tokenizer(text)` gives what it did.
    """
    if isinstance(trained, MistralChatTokenizer):
        settings, template = _write_mistral(trained, folder, chats=chats)
    else:
        shutil.copyfile(base / VOCABULARY, folder / VOCABULARY)
        settings = read_settings(base)
        template = template_source(base, settings) if chats else None
        settings = {name: value for name, value in settings.items() if name not in _OVERRIDING} | _AS_IN_THE_FILE
    if (pad := _pad_token(folder)) is not None:
        settings["pad_token"] = pad
    (folder / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=2), "utf-8")
    if template is not None:
        # Newlines of a template are text: none may become another on the way.
        (folder / TEMPLATE).write_bytes(template.encode())


def _write_mistral(trained: MistralChatTokenizer, folder: Path, *, chats: bool) -> tuple[dict[str, Any], str | None]:
    """Its file and tokenizer.json. Returns tokenizer_config.json and the template."""
    tokenizer = trained.published
    shutil.copyfile(tokenizer.file_path, folder / versioned_name(tokenizer))
    fast_tokenizer(tokenizer, rendered=chats).save(str(folder / VOCABULARY))
    settings = {
        **_AS_IN_THE_FILE,
        "bos_token": tokenizer.id_to_piece(tokenizer.bos_id),
        "eos_token": tokenizer.id_to_piece(tokenizer.eos_id),
        "unk_token": tokenizer.id_to_piece(tokenizer.unk_id),
        # Never EOS: whoever trains on would mask the end of each answer.
        "pad_token": tokenizer.id_to_piece(trained.pad_id),
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return settings, mistral_template(tokenizer) if chats else None


def versioned_name(tokenizer: SentencePieceTokenizer | Tekkenizer) -> str:
    """The name by which mistral-common finds the file and, of SentencePiece, its version."""
    if isinstance(tokenizer, Tekkenizer):
        return "tekken.json"
    name = tokenizer.file_path.name
    return name if f".model.{tokenizer.version.value}" in name else f"tokenizer.model.{tokenizer.version.value}"


def _pad_token(folder: Path) -> str | None:
    """The token that the model's config.json says is padding, where it says so: a classifier skips it by its id."""
    path = folder / "config.json"
    number = json.loads(path.read_bytes()).get("pad_token_id") if path.is_file() else None
    if number is None or number < 0:  # some write -1 for none
        return None
    token: str | None = Tokenizer.from_file(str(folder / VOCABULARY)).id_to_token(number)
    return token
