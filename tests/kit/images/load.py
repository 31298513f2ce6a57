"""Brings an image into a containerd, without the layers that are unpacked there."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from images.layout import Image, Layer, Layout
from images.store import CommandFailed, Store, run

_BLOCK = 1 << 20


def load(store: Store, layout: Layout, image: Image, socket: Path) -> None:
    """Raises CommandFailed."""
    listed = run(*_client(socket), "images", "list", f"name=={image.name}").split()
    unpacked = set(run(*_client(socket), "snapshots", "list").split())
    missing = [layer for layer in image.layers if layer.snapshot not in unpacked]
    if image.manifest.digest in listed and not missing:
        return
    layout.complete(store, image, missing)
    with _kept(image.name, socket) if image.name in listed else nullcontext():
        _import(layout, image, missing, socket)
    if missing:
        # They are unpacked now: kept, they would take the disk twice.
        run(*_client(socket), "content", "rm", *(layer.blob.digest for layer in missing))


@contextmanager
def _kept(name: str, socket: Path) -> Iterator[None]:
    """An image stays for a while when another takes its name.

    containerd collects what has lost its name at once, layers among it that the other is about to be put upon.
    """
    aside = f"{name}-replaced"
    run(*_client(socket), "images", "tag", "--force", name, aside)
    try:
        yield
    finally:
        run(*_client(socket), "images", "rm", aside)


def _client(socket: Path) -> tuple[str, ...]:
    return ("ctr", f"--address={socket}", "--namespace=k8s.io")


def _import(layout: Layout, image: Image, layers: Sequence[Layer], socket: Path) -> None:
    with subprocess.Popen(
        ["nice", *_client(socket), "images", "import", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin:
                write_archive(layout, image, layers, process.stdin)
        except BrokenPipeError:
            pass  # it has ended and says why
        said = process.stdout.read().decode()
    if process.returncode != 0:
        raise CommandFailed(f"ctr could not import {image.name}: {said.strip()[-1000:]}")


def write_archive(layout: Layout, image: Image, layers: Sequence[Layer], to: IO[bytes]) -> None:
    """An OCI archive of the image that has only these of its layers."""
    manifest = {
        "mediaType": image.manifest.media_type,
        "digest": image.manifest.digest,
        "size": image.manifest.size,
        "annotations": {"io.containerd.image.name": image.name},
    }
    texts = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "manifests": [manifest]},
    }
    with tarfile.open(fileobj=to, mode="w|", bufsize=_BLOCK) as tar:
        for blob in (image.manifest, image.config, *(layer.blob for layer in layers)):
            tar.add(layout.folder / blob.path, blob.path)
        for name, document in texts.items():
            text = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
