"""Images as files (OCI image layout): what nodes are loaded from. Layers that all have give their space back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.store import Store, run

_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Descriptor:
    """Of a blob."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Descriptor:
        return cls(document["mediaType"], document["digest"], document["size"])

    @property
    def path(self) -> str:
        """In the layout."""
        return f"blobs/{self.digest.replace(':', '/')}"


@dataclass(frozen=True)
class Layer:
    blob: Descriptor
    snapshot: str
    """Name of what it is unpacked to."""


@dataclass(frozen=True)
class Image:
    name: str
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Layer, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return (self.manifest, self.config, *(layer.blob for layer in self.layers))


@dataclass(frozen=True)
class Layout:
    folder: Path

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def export(self, store: Store, name: str) -> Image:
        """Copy an image here, but for blobs that are here. Raises CommandFailed."""
        # Uncompressed: compressing 6 GB takes longer than writing them, and a layer has one digest instead of two.
        to = f"oci:{self.folder}:{name}"
        run("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers", store.address(name), to)
        return self.image(name)

    def image(self, name: str) -> Image:
        """One that was exported."""
        (entry,) = (entry for entry in self._entries() if entry["annotations"][_NAME] == name)
        manifest = Descriptor.of(entry)
        parts = json.loads((self.folder / manifest.path).read_text())
        config = Descriptor.of(parts["config"])
        chain = chain_ids(json.loads((self.folder / config.path).read_text())["rootfs"]["diff_ids"])
        blobs = (Descriptor.of(layer) for layer in parts["layers"])
        return Image(name, manifest, config, tuple(map(Layer, blobs, chain)))

    def complete(self, store: Store, image: Image, layers: Collection[Layer]) -> None:
        """Bring back what these layers held. Raises CommandFailed."""
        hollow = [path for layer in layers if _is_hollow(path := self.folder / layer.blob.path)]
        for path in hollow:
            path.unlink()
        if hollow:
            self.export(store, image.name)

    def keep(self, images: Iterable[Image]) -> None:
        """Remove the blobs of all others, and hollow the layers: their length stays and says that they were exported,
        their content is gone until a node asks for it again."""
        images = tuple(images)
        self._index.write_text(json.dumps({"schemaVersion": 2, "manifests": self._entries()}))
        kept = {self.folder / blob.path for image in images for blob in image.blobs}
        for path in (self.folder / "blobs").glob("*/*"):
            if path not in kept:
                path.unlink()
        for path in {self.folder / layer.blob.path for image in images for layer in image.layers}:
            if not _is_hollow(path):
                _hollow(path)

    def _entries(self) -> list[dict[str, Any]]:
        """Of the index; an image that lost its name to another is in there without one."""
        return [entry for entry in json.loads(self._index.read_text())["manifests"] if "annotations" in entry]


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """What layers are unpacked to, each with all below it (OCI image specification, "Layer ChainID")."""
    chain = list(diff_ids[:1])
    for diff_id in diff_ids[1:]:
        chain.append("sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest())
    return chain


def _is_hollow(path: Path) -> bool:
    return path.exists() and path.stat().st_blocks == 0


def _hollow(path: Path) -> None:
    size = path.stat().st_size
    aside = path.with_suffix(".hollow")
    with aside.open("wb") as file:
        file.truncate(size)
    aside.replace(path)
