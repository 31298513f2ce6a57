"""The adapter that training goes on from: of this very base model, and of the shape that the spec asks for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from finetune_api.contract import ExitCode
from finetune_api.spec import LoRA
from finetune_trainer.checkpoint.layout import MANIFEST
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.prepare.fingerprint import content_print, digest_of
from finetune_trainer.prepare.model.adapter import CONFIG_FILE, PREFIX, WEIGHTS_FILE, expected_adapter
from finetune_trainer.prepare.model.architecture import ModelConfig
from finetune_trainer.prepare.model.header import NotSafetensors, read_header
from finetune_trainer.publication import Manifest
from finetune_trainer.storage import NotFound, Storage, StoredObject

FIELD: Final = "spec.method.lora.initialAdapterUri"
HEAD: Final = f"{PREFIX}score.weight"
"""Of a classifier; whether it has the job's labels is known when they are."""

LABELS_FILE: Final = "config.json"

_CONFIG_MAX_BYTES = 1 << 20
_NO_PLAIN_LORA = ("use_dora", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InitialAdapter:
    """An adapter as it is stored."""

    uri: str
    settings: Mapping[str, Any]
    """adapter_config.json, but for the name of the base model, which says nothing of what lies there."""
    every: tuple[StoredObject, ...]
    """All that has to be downloaded."""
    weights: StoredObject
    digest: str
    """Over what the files hold, wherever they lie."""


def find_adapter(storage: Storage, uri: str) -> InitialAdapter:
    """The files at `uri`, with a classifier's names of labels. Raises StageFailed, and what the storage raises."""
    uri = uri.rstrip("/")
    config, weights = (_stored(storage, f"{uri}/{name}") for name in (CONFIG_FILE, WEIGHTS_FILE))
    labels = storage.stat(f"{uri}/{LABELS_FILE}")
    settings = _read_object(storage, config)
    settings.pop("base_model_name_or_path", None)
    content = {
        "settings": settings,
        "weights": content_print(storage, weights),
        "labels": None if labels is None else content_print(storage, labels),
    }
    return InitialAdapter(
        uri=uri,
        settings=settings,
        every=(config, weights, *([] if labels is None else [labels])),
        weights=weights,
        digest=digest_of(content),
    )


def resolve_adapter(
    storage: Storage,
    lora: LoRA,
    *,
    config: ModelConfig,
    model_digest: str,
    target_modules: tuple[str, ...],
    labels: bool,
) -> InitialAdapter | None:
    """Check the adapter that `lora` names against it and the base model; None when it names none.

    One that this trainer published tells the digest of its base model. Of another, names and shapes have to fit, and
    the log says that no more is known. `labels`: whether the task has a head, which may lie in the adapter's file.
    Raises StageFailed.
    """
    if lora.initial_adapter_uri is None:
        return None
    with blame(FIELD):
        adapter = find_adapter(storage, lora.initial_adapter_uri)
        _check_settings(adapter, lora, config, target_modules)
        shapes = _read_shapes(storage, adapter.weights)
        _check_shapes(shapes, expected_adapter(config, lora, target_modules), labels, adapter.weights.uri)
        _check_base(storage, adapter.uri, model_digest)
    return adapter


def _stored(storage: Storage, uri: str) -> StoredObject:
    found = storage.stat(uri)
    if found is None:
        raise _refused("AdapterIncomplete", f"{uri} is missing")
    return found


def _read_object(storage: Storage, stored: StoredObject) -> dict[str, Any]:
    try:
        if stored.size > _CONFIG_MAX_BYTES:
            raise ValueError(f"{stored.size} bytes")
        content = json.loads(storage.read(stored.uri)[0])
    except (ValueError, RecursionError) as error:
        raise _refused("AdapterCorrupt", f"{stored.uri} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _refused("AdapterCorrupt", f"{stored.uri} holds no object")
    return content


def _read_shapes(storage: Storage, stored: StoredObject) -> dict[str, tuple[int, ...]]:
    try:
        return {name: shape for name, (_, shape) in read_header(storage, stored).items()}
    except NotSafetensors as error:
        raise _refused("AdapterCorrupt", str(error)) from error


def _check_settings(adapter: InitialAdapter, lora: LoRA, config: ModelConfig, target_modules: tuple[str, ...]) -> None:
    settings, file = adapter.settings, f"{adapter.uri}/{CONFIG_FILE}"
    if settings.get("peft_type") != "LORA":
        raise _refused("AdapterMismatch", f"{file} has peft_type {settings.get('peft_type')!r}, not 'LORA'")
    every = range(config.num_hidden_layers)
    layers, targets = settings.get("layers_to_transform"), settings.get("target_modules")
    fits = {
        "rank": settings.get("r") == lora.rank,
        "alpha": settings.get("lora_alpha") == lora.alpha,
        "rankStabilized": bool(settings.get("use_rslora")) == lora.rank_stabilized,
        "targetModules": isinstance(targets, list) and set(map(str, targets)) == set(target_modules),
        "lastLayers": layers is None or set(layers) == set(every[-(lora.last_layers or len(every)) :]),
    }
    if others := [name for name, is_same in fits.items() if not is_same]:
        raise _refused("AdapterMismatch", f"{file} says otherwise than spec.method.lora.{others[0]}")
    special = [name for name in _NO_PLAIN_LORA if settings.get(name)]
    if settings.get("bias", "none") != "none":
        special.append("bias")
    if special:
        raise _refused("AdapterMismatch", f"{file} sets {special[0]}, which this trainer has no part for")


def _check_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], labels: bool, file: str
) -> None:
    there = {name: shape for name, shape in found.items() if not (labels and name == HEAD)}
    if there != expected:
        name = min(name for name, _ in there.items() ^ expected.items())
        raise _refused(
            "AdapterMismatch",
            f"{name} in {file} has shape {there.get(name)}, this base model asks for {expected.get(name)}",
        )


def _check_base(storage: Storage, uri: str, model_digest: str) -> None:
    """An adapter lies in `model/` beside the manifest of its publication."""
    manifest_uri = f"{uri.rpartition('/')[0]}/{MANIFEST}"
    try:
        manifest = Manifest.model_validate_json(storage.read(manifest_uri)[0])
    except (NotFound, ValidationError):
        log.warning(
            "%s: %s has no manifest of this trainer: its names and shapes fit the base model, "
            "whether it was trained on the same weights is not known",
            FIELD,
            uri,
        )
        return
    if manifest.base_model_digest != model_digest:
        raise _refused(
            "AdapterMismatch",
            f"{manifest_uri} says that the adapter was trained on another base model ({manifest.base_model_uri}, "
            f"digest {manifest.base_model_digest}) than spec.model.uri's (digest {model_digest})",
        )


def _refused(reason: str, message: str) -> StageFailed:
    return StageFailed(ExitCode.MISMATCH, reason, f"{FIELD}: {message}", field=FIELD)
