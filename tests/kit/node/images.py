"""Images of the nodes: imported into the first, which shares what it has unpacked with the others on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.addresses import SEATS
from node.containerd import ctr, endpoint, listens
from node.machine import command
from node.state import Folders, State

_OWN = "sha256:"
# Of containers and sandboxes, not of images.
_NOT_SHARED = ("io.containerd.grpc.v1.cri", "io.containerd.runtime.v2.task", "tmpmounts")


@dataclass(frozen=True)
class Image:
    name: str
    digest: str


def sockets(state: State) -> list[Path]:
    """Where the containerd of each node listens."""
    return [endpoint(state.daemon(seat.name)) for seat in SEATS]


def load(folders: Folders, state: State, import_into: Callable[[Path], None]) -> None:
    """Bring images into every node of a cluster that is up.

    `import_into(socket)` imports what is missing there. As long as no pod runs, only the first node imports: the
    others get hard links to its files, for containerd holds an image of 6 GB twice, and so would every node.
    """
    first, *others = sockets(state)
    import_into(first)
    _remove_unnamed(first)
    missing = [other for other in others if _images(other) != _images(first)]
    if not missing:
        return
    if any(_busy(socket) for socket in (first, *others)):
        for other in missing:
            import_into(other)
            _remove_unnamed(other)
        return
    _share(folders, state)


def _images(socket: Path) -> set[Image]:
    lines = ctr(socket, "images", "ls").splitlines()[1:]
    return {Image(name, digest) for name, _, digest, *_ in (line.split() for line in lines)}


def _remove_unnamed(socket: Path) -> None:
    for name in unnamed(_images(socket)):
        ctr(socket, "images", "rm", name)


def unnamed(images: Collection[Image]) -> list[str]:
    """Those to which only Kubernetes' own name leads, the digest of their configuration: an image with the name that
    they had has taken their place, and they take its disk space."""
    named = {image.digest for image in images if not image.name.startswith(_OWN)}
    return sorted(image.name for image in images if image.name.startswith(_OWN) and image.digest not in named)


def _busy(socket: Path) -> bool:
    return ctr(socket, "tasks", "ls", "--quiet").strip() != ""


def _share(folders: Folders, state: State) -> None:
    runtimes = [state.containerd(seat.name) for seat in SEATS]
    agents = [state.kubelet(seat.name) for seat in SEATS]
    for daemon in (*agents, *runtimes):
        daemon.stop()
    first, *others = [folders.images / seat.name for seat in SEATS]
    try:
        for other in others:
            share(first, other)
    finally:
        for runtime, socket in zip(runtimes, sockets(state), strict=True):
            runtime.start()
            runtime.wait_until(partial(listens, socket))
        for agent in agents:
            agent.start()


def share(store: Path, copy: Path) -> None:
    """Make `copy` a store of the same images: content and snapshots, which nobody writes once they are committed,
    by hard links, and the databases that tell of them for real. Nobody may use either store meanwhile.

    Wherever it is interrupted, `copy` is either what it was, or empty to containerd, or what it is to be.
    """
    fresh = copy.with_name(f"{copy.name}.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir()
    for folder in store.iterdir():
        if folder.name not in _NOT_SHARED:
            command("cp", "--archive", "--link", str(folder), str(fresh), timeout_seconds=600)
    for database in fresh.rglob("io.containerd.*/*.db"):
        private = database.with_suffix(".copy")
        shutil.copyfile(database, private)
        private.replace(database)
    for old in sorted(copy.iterdir(), key=_knows, reverse=True):
        shutil.rmtree(old)
    for new in sorted(fresh.iterdir(), key=_knows):
        new.rename(copy / new.name)
    fresh.rmdir()


def _knows(folder: Path) -> bool:
    """It tells which images there are: it goes first and comes last."""
    return folder.name == "io.containerd.metadata.v1.bolt"
