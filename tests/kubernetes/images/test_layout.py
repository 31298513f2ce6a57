import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.layout import Image, Layer, Layout, chain_ids
from images.load import write_archive
from images.store import Store

NAME = "localhost/finetune-trainer:test"
CONTENT = b"x" * 5_000


@dataclass
class Written:
    """A layout as skopeo leaves it, blob by blob."""

    folder: Path
    entries: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, content: bytes, media_type: str = "blob") -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, name: str | None, *layers: bytes) -> None:
        blobs = [self.blob(layer, "layer") for layer in layers]
        config = self.blob(json.dumps({"rootfs": {"diff_ids": [blob["digest"] for blob in blobs]}}).encode())
        manifest = self.blob(json.dumps({"config": config, "layers": blobs}).encode(), "manifest")
        named = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        self.entries.append(manifest | named)
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.entries}))

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (self.folder / "blobs").glob("*/*")}


def layout_of(folder: Path, *layers: bytes) -> tuple[Written, Layout, Image]:
    written, layout = Written(folder), Layout(folder)
    written.image(None, b"of an image that lost its name")
    written.image(NAME, *layers)
    return written, layout, layout.image(NAME)


def test_a_snapshot_is_named_for_its_layer_and_all_below_it() -> None:
    # Of a real image, as containerd lists its snapshots.
    lower = "sha256:3f59add90d55ae41fb52d686ed473f8f6599d7f14a7b9e236f4429d02c5aecf9"
    upper = "sha256:551d0250c1497ffb06ca7637c3671dde4da674b32efc6ba287d39d75b0efb992"
    both = "sha256:98c7b75ba52366dc802490892a7fe57f2ac7cec243d457394a4910a249edbc5b"

    assert chain_ids([lower, upper]) == [lower, both]


def test_what_is_kept_is_the_images_and_of_their_layers_only_the_length(tmp_path: Path) -> None:
    written, layout, image = layout_of(tmp_path, CONTENT)
    (layer,) = image.layers

    layout.keep([image])
    layout.keep([image])

    assert set(written.files()) == {tmp_path / blob.path for blob in image.blobs}
    hollow = (tmp_path / layer.blob.path).stat()
    assert (hollow.st_size, hollow.st_blocks) == (len(CONTENT), 0)
    assert layout.image(NAME) == image


def test_a_layer_that_was_given_up_is_exported_again_when_a_node_lacks_it(tmp_path: Path) -> None:
    _, layout, image = layout_of(tmp_path, CONTENT, b"thin")
    lower, upper = image.layers
    layout.keep([image])
    asked: list[str] = []

    @dataclass(frozen=True)
    class Exporting(Layout):
        def export(self, store: Store, name: str) -> Image:
            asked.append(name)
            return self.image(name)

    Exporting(tmp_path).complete(Store(tmp_path), image, [upper])

    assert asked == [NAME]
    assert not (tmp_path / upper.blob.path).exists()
    assert (tmp_path / lower.blob.path).exists()


def test_a_layer_that_is_there_is_not_exported_again(tmp_path: Path) -> None:
    written, layout, image = layout_of(tmp_path, CONTENT)
    before = written.files()

    layout.complete(Store(tmp_path / "nothing"), image, image.layers)

    assert written.files() == before


def archive(layout: Layout, image: Image, layers: tuple[Layer, ...]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    write_archive(layout, image, layers, buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_an_archive_has_the_layers_that_are_missing_and_no_others(tmp_path: Path) -> None:
    _, layout, image = layout_of(tmp_path, CONTENT, b"thin")
    thin = image.layers[1:]

    files = archive(layout, image, thin)

    sent = (image.manifest, image.config, thin[0].blob)
    assert {name for name in files if name.startswith("blobs/")} == {blob.path for blob in sent}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry == {
        "mediaType": "manifest",
        "digest": image.manifest.digest,
        "size": image.manifest.size,
        "annotations": {"io.containerd.image.name": NAME},
    }
