"""The base model at `spec.model.uri`: checked without loading its weights, and given a digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_api.contract import ExitCode
from finetune_api.shape import ModelShape
from finetune_trainer import tokenizers
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.fingerprint import content_print, digest_of
from finetune_trainer.prepare.model.architecture import (
    NOT_QUANTIZED,
    ModelConfig,
    Unsupported,
    expected_tensors,
    read_config,
    shape_of,
)
from finetune_trainer.prepare.model.files import FIELD, ModelFiles, find_files, mismatch, read_object
from finetune_trainer.prepare.model.header import Header, NotSafetensors, read_header
from finetune_trainer.storage import Storage, StoredObject
from finetune_trainer.tokenizers import ChatTokenizer

_DTYPES = ("BF16", "F16", "F32")


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A model that training can load."""

    config: ModelConfig
    files: ModelFiles
    digest: str
    """Over what configuration, weights and tokenizer hold, wherever they lie."""
    tokenizer_digest: str


def resolve(storage: Storage, uri: str, *, with_weights: bool = True) -> BaseModel:
    """Check that everything a Mistral needs is there and fits together. Raises StageFailed naming what does not.

    Without weights only what encoding needs is looked at, configuration and tokenizer; the digest is over these.
    """
    files = find_files(storage, uri, with_weights=with_weights)
    with blame(FIELD):
        config = _read_config(storage, files.config)
        if with_weights:
            headers = {files.name_of(stored): _read_header(storage, stored) for stored in files.weights}
            _check_tensors(config, headers, files.index)
        weights, tokenizer = (
            {files.name_of(stored): content_print(storage, stored) for stored in group}
            for group in (files.weights, files.tokenizer)
        )
    digest = digest_of({"config": config.model_dump(mode="json"), "weights": weights, "tokenizer": tokenizer})
    return BaseModel(config=config, files=files, digest=digest, tokenizer_digest=digest_of(tokenizer))


def read_shape(storage: Storage, uri: str) -> ModelShape:
    """What config.json says of the model's size; nothing else is looked at. Raises StageFailed."""
    files = find_files(storage, uri, with_weights=False)
    with blame(FIELD):
        return shape_of(_read_config(storage, files.config))


def load_tokenizer(storage: Storage, model: BaseModel, folder: Path) -> ChatTokenizer:
    """Download the model's tokenizer to `folder` and check that it fits. Raises StageFailed."""
    with blame(FIELD):
        for stored in model.files.tokenizer:
            storage.download(stored.uri, folder / model.files.name_of(stored))
    try:
        tokenizer = tokenizers.load(folder)
    except tokenizers.TokenizerContradicts as error:
        raise _disagrees(f"the tokenizer of {model.files.uri} contradicts itself: {error}") from error
    except tokenizers.TokenizerRefused as error:
        raise mismatch("TokenizerRefused", f"the tokenizer of {model.files.uri} cannot be used: {error}") from error
    if tokenizer.vocab_size > model.config.vocab_size:
        names = ", ".join(map(model.files.name_of, model.files.tokenizer))
        sizes = f"{tokenizer.vocab_size} tokens, the model {model.config.vocab_size}"
        raise _disagrees(f"the tokenizer of {model.files.uri} ({names}) has {sizes}")
    return tokenizer


def _disagrees(message: str) -> StageFailed:
    return StageFailed(ExitCode.BAD_CONFIG, "TokenizerMismatch", f"{FIELD}: {message}", field=FIELD)


def _read_config(storage: Storage, stored: StoredObject) -> ModelConfig:
    content = read_object(storage, stored)
    try:
        return read_config(content)
    except Unsupported as error:
        raise _unsupported(f"{stored.uri}: {error}") from error


def _unsupported(message: str) -> StageFailed:
    return StageFailed(ExitCode.BAD_CONFIG, "ModelUnsupported", f"{FIELD}: {message}", field=FIELD)


def _read_header(storage: Storage, stored: StoredObject) -> Header:
    try:
        return read_header(storage, stored)
    except NotSafetensors as error:
        raise mismatch("ModelCorrupt", str(error)) from error


def _check_tensors(config: ModelConfig, headers: Mapping[str, Header], index: Mapping[str, str]) -> None:
    there = {name: file for file, tensors in headers.items() for name in tensors}
    expected = expected_tensors(config)
    for name, shape in expected.items():
        file = index.get(name) if index else there.get(name)
        if file is None:
            raise mismatch("ModelIncomplete", f"the tensor {name} is in none of {', '.join(headers)}")
        if name not in headers[file]:
            raise mismatch("ModelIncomplete", f"the tensor {name} is not in {file}, where the index has it")
        dtype, found = headers[file][name]
        if dtype not in _DTYPES:
            raise _unsupported(f"{name} in {file} is {dtype}, not one of {', '.join(_DTYPES)}: {NOT_QUANTIZED}")
        if found != shape:
            raise mismatch("ModelMismatch", f"{name} in {file} has shape {found}, config.json asks for {shape}")
    surplus = sorted(name for name in there.keys() - expected.keys() if not _is_harmless(name, config))
    if surplus:
        file = there[surplus[0]]
        raise mismatch("ModelMismatch", f"{surplus[0]} in {file} is no tensor of a Mistral ({len(surplus)} such)")


def _is_harmless(name: str, config: ModelConfig) -> bool:
    # Tied models are often saved with their head, and old ones with a table that is computed.
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)
