"""The base model at `spec.model.uri`: resolved, checked without reading its weights, and given a digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from finetune_api.contract import ExitCode
from finetune_trainer import tokenizers
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.architecture import MistralConfig, expected_tensors
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.fingerprint import digest_of, fingerprints
from finetune_trainer.storage import Storage, StoredObject
from finetune_trainer.tokenizers import ChatTokenizer

FIELD: Final = "spec.model.uri"

_CONFIG = "config.json"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ACCOMPANYING = ("generation_config.json", "special_tokens_map.json", "added_tokens.json")
_DTYPES = ("BF16", "F16", "F32")
_HEADER_MAX_BYTES = 100 << 20  # the limit of the safetensors library
_JSON_MAX_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A model that training can load."""

    uri: str
    config: MistralConfig
    digest: str
    """Over configuration, weights and tokenizer: the fingerprint of each file, and of weights their headers too."""
    tokenizer_digest: str
    files: tuple[StoredObject, ...]
    """All that has to be downloaded: configuration, weights, tokenizer and what accompanies them."""
    tokenizer_files: tuple[StoredObject, ...]

    def name_of(self, stored: StoredObject) -> str:
        """The file's name in the model's folder."""
        return stored.uri.removeprefix(f"{self.uri}/")


def resolve(storage: Storage, uri: str) -> BaseModel:
    """Check that everything a Mistral needs is there and fits together. Raises StageFailed naming what does not."""
    uri = uri.rstrip("/")
    with blame(FIELD):
        found = {
            name: stored
            for stored in storage.list(f"{uri}/")
            if "/" not in (name := stored.uri.removeprefix(f"{uri}/"))
        }
        if not found:
            raise _mismatch("ModelAbsent", f"nothing is stored under {uri}/")
        config = _read_config(storage, _required(found, _CONFIG, uri))
        weights = _weight_files(storage, found, uri)
        headers = {name: _read_header(storage, found[name]) for name in weights}
        _check_tensors(config, headers)
        tokenizer = {
            name: stored
            for name, stored in found.items()
            if any(fnmatch(name, pattern) for pattern in tokenizers.FILE_NAMES)
        }
        prints = fingerprints(storage, tuple(tokenizer.values()))
        tokenizer_prints = {name: prints[stored.uri] for name, stored in tokenizer.items()}
        weight_prints = fingerprints(storage, [found[name] for name in weights])
        digest = digest_of(
            {
                "config": config.model_dump(mode="json"),
                "weights": {name: [weight_prints[found[name].uri], digest_of(headers[name])] for name in weights},
                "tokenizer": tokenizer_prints,
            }
        )
    accompanying = [name for name in (_CONFIG, _INDEX, *_ACCOMPANYING) if name in found]
    return BaseModel(
        uri=uri,
        config=config,
        digest=digest,
        tokenizer_digest=digest_of(tokenizer_prints),
        files=tuple(found[name] for name in sorted({*accompanying, *weights, *tokenizer})),
        tokenizer_files=tuple(tokenizer.values()),
    )


def load_tokenizer(storage: Storage, model: BaseModel, folder: Path) -> ChatTokenizer:
    """Download the model's tokenizer to `folder` and check that it fits. Raises StageFailed."""
    with blame(FIELD):
        for stored in model.tokenizer_files:
            storage.download(stored.uri, folder / model.name_of(stored))
    try:
        tokenizer = tokenizers.load(folder)
    except tokenizers.TokenizerRefused as error:
        raise _mismatch("TokenizerRefused", f"the tokenizer of {model.uri} cannot be used: {error}") from error
    if tokenizer.vocab_size > model.config.vocab_size:
        raise _mismatch(
            "TokenizerMismatch",
            f"the tokenizer of {model.uri} has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}",
        )
    return tokenizer


def _mismatch(reason: str, message: str) -> StageFailed:
    return StageFailed(ExitCode.MISMATCH, reason, f"{FIELD}: {message}", field=FIELD)


def _required(found: Mapping[str, StoredObject], name: str, uri: str) -> StoredObject:
    if name not in found:
        raise _mismatch("ModelIncomplete", f"{uri}/{name} is missing")
    return found[name]


def _read_config(storage: Storage, stored: StoredObject) -> MistralConfig:
    content = _read_json(storage, stored)
    model_type = content.get("model_type")
    if model_type != "mistral":
        message = f"{FIELD}: {stored.uri} has model_type {model_type!r}; only 'mistral' is supported"
        raise StageFailed(ExitCode.BAD_CONFIG, "ModelUnsupported", message, field=FIELD)
    try:
        return MistralConfig.from_json(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_url=False)
        )
        message = f"{FIELD}: {stored.uri} is not a configuration this trainer knows: {problems}"
        raise StageFailed(ExitCode.BAD_CONFIG, "ModelUnsupported", message, field=FIELD) from error


def _read_json(storage: Storage, stored: StoredObject) -> dict[str, Any]:
    if stored.size > _JSON_MAX_BYTES:
        raise _mismatch("ModelCorrupt", f"{stored.uri} has {stored.size} bytes")
    try:
        content = json.loads(storage.read(stored.uri)[0])
    except (ValueError, RecursionError) as error:
        raise _mismatch("ModelCorrupt", f"{stored.uri} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _mismatch("ModelCorrupt", f"{stored.uri} holds no object")
    return content


def _weight_files(storage: Storage, found: Mapping[str, StoredObject], uri: str) -> tuple[str, ...]:
    if _INDEX in found:
        weight_map = _read_json(storage, found[_INDEX]).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise _mismatch("ModelCorrupt", f"{uri}/{_INDEX} has no weight_map")
        names = tuple(sorted({str(name) for name in weight_map.values()}))
    elif _SINGLE in found:
        names = (_SINGLE,)
    else:
        others = [name for name in found if name.endswith((".bin", ".pt", ".pth", ".gguf", ".safetensors"))]
        hint = f"; {', '.join(sorted(others)[:5])} cannot be used" if others else ""
        raise _mismatch("ModelIncomplete", f"{uri} has neither {_SINGLE} nor {_INDEX}{hint}")
    for name in names:
        _required(found, name, uri)
    return names


def _read_header(storage: Storage, stored: StoredObject) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor, by name."""
    try:
        size = int.from_bytes(storage.read(stored.uri, 0, 8)[0], "little")
        if size > min(_HEADER_MAX_BYTES, stored.size):
            raise ValueError(f"a header of {size} bytes")
        header = json.loads(storage.read(stored.uri, 8, size)[0])
        header.pop("__metadata__", None)
        end = 8 + size + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        tensors = {name: (str(tensor["dtype"]), tuple(tensor["shape"])) for name, tensor in header.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise _mismatch("ModelCorrupt", f"{stored.uri} is not safetensors: {error}") from error
    if end != stored.size:
        raise _mismatch("ModelCorrupt", f"{stored.uri} has {stored.size} bytes where its header says {end}")
    return tensors


def _check_tensors(config: MistralConfig, headers: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]]) -> None:
    there = {name: (file, *tensor) for file, tensors in headers.items() for name, tensor in tensors.items()}
    expected = expected_tensors(config)
    for name, shape in expected.items():
        if name not in there:
            raise _mismatch("ModelIncomplete", f"the tensor {name} is in none of {', '.join(headers)}")
        file, dtype, found = there[name]
        if found != shape:
            raise _mismatch("ModelMismatch", f"{name} in {file} has shape {found}, config.json asks for {shape}")
        if dtype not in _DTYPES:
            raise _mismatch("ModelMismatch", f"{name} in {file} is {dtype}, not one of {', '.join(_DTYPES)}")
    surplus = sorted(name for name in there.keys() - expected.keys() if not _is_harmless(name, config))
    if surplus:
        file = there[surplus[0]][0]
        raise _mismatch("ModelMismatch", f"{surplus[0]} in {file} is no tensor of a Mistral ({len(surplus)} such)")


def _is_harmless(name: str, config: MistralConfig) -> bool:
    # Tied models are often saved with their head, and old ones with a table that is computed.
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)
