"""Nodes share one store of images, and none keeps what has lost its name."""

from __future__ import annotations

from pathlib import Path

from node.images import Image, share, unnamed

BLOB = "io.containerd.content.v1.content/blobs/sha256/aa"
META = "io.containerd.metadata.v1.bolt/meta.db"
SANDBOX = "io.containerd.grpc.v1.cri/sandboxes/a/hostname"


def _store(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_what_was_unpacked_once_is_on_disk_once_and_databases_are_each_its_own(tmp_path: Path) -> None:
    store = _store(tmp_path / "one", **{BLOB: "layer", META: "knows of it", SANDBOX: "pod"})
    copy = _store(tmp_path / "two", **{META: "knows of nothing", "io.containerd.content.v1.content/blobs/old": "gone"})
    share(store, copy)
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()) == [BLOB, META]
    assert (copy / BLOB).samefile(store / BLOB)
    assert not (copy / META).samefile(store / META)
    assert (copy / META).read_text() == "knows of it"


def test_an_image_whose_name_went_to_another_is_unnamed() -> None:
    images = {
        Image("localhost/trainer:test", "sha256:new"),
        Image("sha256:config-of-new", "sha256:new"),
        Image("sha256:config-of-old", "sha256:old"),
    }
    assert unnamed(images) == ["sha256:config-of-old"]
