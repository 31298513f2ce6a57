"""Which of the files at `spec.model.uri` make up the base model; whatever else lies there is left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

from finetune_api.contract import ExitCode
from finetune_trainer import tokenizers
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.storage import Storage, StoredObject

FIELD: Final = "spec.model.uri"

_CONFIG = "config.json"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ACCOMPANYING = (_INDEX, "generation_config.json", "special_tokens_map.json", "added_tokens.json")
_JSON_MAX_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """All that has to be downloaded."""

    uri: str
    config: StoredObject
    weights: tuple[StoredObject, ...]
    index: Mapping[str, str]
    """The file of each tensor; empty where all are in one."""
    tokenizer: tuple[StoredObject, ...]
    accompanying: tuple[StoredObject, ...]

    @property
    def every(self) -> tuple[StoredObject, ...]:
        return (self.config, *self.weights, *self.tokenizer, *self.accompanying)

    def name_of(self, stored: StoredObject) -> str:
        """The file's name in the model's folder."""
        return stored.uri.removeprefix(f"{self.uri}/")


def find_files(storage: Storage, uri: str, *, with_weights: bool = True) -> ModelFiles:
    """Choose by name, weights by their index. Raises StageFailed naming what is missing."""
    uri = uri.rstrip("/")
    with blame(FIELD):
        found = {
            name: stored
            for stored in storage.list(f"{uri}/")
            if "/" not in (name := stored.uri.removeprefix(f"{uri}/"))
        }
        if not found:
            raise mismatch("ModelAbsent", f"nothing is stored under {uri}/")
        config = _required(found, _CONFIG, uri)
        index = _index(storage, found, uri) if with_weights else {}
        names = sorted(set(index.values())) or ([_SINGLE] if with_weights else [])
        weights = tuple(_required(found, name, uri) for name in names)
    return ModelFiles(
        uri=uri,
        config=config,
        weights=weights,
        index=index,
        tokenizer=tuple(stored for name, stored in found.items() if _is_tokenizer(name)),
        accompanying=tuple(found[name] for name in _ACCOMPANYING if name in found and not _is_tokenizer(name)),
    )


def mismatch(reason: str, message: str) -> StageFailed:
    return StageFailed(ExitCode.MISMATCH, reason, f"{FIELD}: {message}", field=FIELD)


def read_object(storage: Storage, stored: StoredObject) -> dict[str, Any]:
    """A JSON object. Raises StageFailed."""
    if stored.size > _JSON_MAX_BYTES:
        raise mismatch("ModelCorrupt", f"{stored.uri} has {stored.size} bytes")
    try:
        content = json.loads(storage.read(stored.uri)[0])
    except (ValueError, RecursionError) as error:
        raise mismatch("ModelCorrupt", f"{stored.uri} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise mismatch("ModelCorrupt", f"{stored.uri} holds no object")
    return content


def _is_tokenizer(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in tokenizers.FILE_NAMES)


def _required(found: Mapping[str, StoredObject], name: str, uri: str) -> StoredObject:
    if name not in found:
        raise mismatch("ModelIncomplete", f"{uri}/{name} is missing")
    return found[name]


def _index(storage: Storage, found: Mapping[str, StoredObject], uri: str) -> dict[str, str]:
    """The file of each tensor; empty where all are in one."""
    if _INDEX in found:
        weight_map = read_object(storage, found[_INDEX]).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise mismatch("ModelCorrupt", f"{uri}/{_INDEX} has no weight_map")
        return {name: str(file) for name, file in weight_map.items()}
    if _SINGLE in found:
        return {}
    others = [name for name in found if name.endswith((".bin", ".pt", ".pth", ".gguf", ".safetensors"))]
    hint = f"; {', '.join(sorted(others)[:5])} cannot be used" if others else ""
    raise mismatch("ModelIncomplete", f"{uri} has neither {_SINGLE} nor {_INDEX}{hint}")
