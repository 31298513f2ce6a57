"""A finished model as it lies in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_trainer.checkpoint.layout import HEAD, Head, run_uri
from finetune_trainer.publication import METRICS, SAMPLES, Manifest, OutputManifest
from finetune_trainer.storage.s3 import S3Storage


@dataclass(frozen=True)
class Publication:
    """Its files by their paths, and what names them."""

    head: Head
    manifest: Manifest
    files: Mapping[str, bytes]

    def json(self, path: str) -> Any:
        return json.loads(self.files[path])

    @property
    def losses(self) -> list[tuple[int, float]]:
        """Step and loss of every optimizer step."""
        return [(point["step"], point["loss"]) for point in self.json(METRICS)["steps"]]

    def same_model_as(self, other: Publication) -> bool:
        """Bit by bit: weights, the loss of every step, and what the model answers."""
        paths = ("model/adapter_model.safetensors", METRICS, SAMPLES)
        return all(self.files[path] == other.files[path] for path in paths)

    def write(self, folder: Path) -> Path:
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder


def read_publication(storage: S3Storage, output_uri: str) -> Publication:
    """What the output's manifest names. Raises NotFound before there is one."""
    pointer = OutputManifest.model_validate_json(storage.read(f"{output_uri}/manifest.json")[0])
    folder = f"{output_uri}/{pointer.manifest}".removesuffix("/manifest.json")
    manifest = Manifest.model_validate_json(storage.read(f"{folder}/manifest.json")[0])
    head = read_head(storage, output_uri, pointer.run)
    files = {file.path: storage.read(f"{folder}/{file.path}")[0] for file in manifest.files}
    return Publication(head, manifest, files)


def read_head(storage: S3Storage, output_uri: str, run: str) -> Head:
    """Which checkpoints of a run count. Raises NotFound before its first start."""
    return Head.model_validate_json(storage.read(f"{run_uri(output_uri, run)}/{HEAD}")[0])
