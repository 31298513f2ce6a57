"""Images of the nodes: imported into the first, which shares what it has unpacked with the others on disk."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from node.addresses import SEATS
from node.containerd import SOCKET, ctr
from node.machine import command
from node.state import Folders, State

# Of containers and sandboxes, not of images.
_NOT_SHARED = ("io.containerd.grpc.v1.cri", "io.containerd.runtime.v2.task", "tmpmounts")


def sockets(folders: Folders) -> list[Path]:
    """Where the containerd of each node listens."""
    return [folders.cluster / seat.name / SOCKET for seat in SEATS]


def load(folders: Folders, state: State, import_into: Callable[[Path], None]) -> None:
    """Bring images into every node of a cluster that is up.

    `import_into(socket)` imports what is missing there. As long as no pod runs, only the first node imports: the
    others get hard links to its files, for containerd holds an image of 6 GB twice, and so would every node.
    """
    first, *others = sockets(folders)
    import_into(first)
    missing = [other for other in others if _images(other) != _images(first)]
    if not missing:
        return
    if any(_busy(endpoint) for endpoint in (first, *others)):
        for other in missing:
            import_into(other)
        return
    _share(folders, state)


def _images(endpoint: Path) -> set[str]:
    """Name and digest of each."""
    lines = ctr(endpoint, "images", "ls").splitlines()[1:]
    return {f"{name}@{digest}" for name, _, digest, *_ in (line.split() for line in lines)}


def _busy(endpoint: Path) -> bool:
    return ctr(endpoint, "tasks", "ls", "--quiet").strip() != ""


def _share(folders: Folders, state: State) -> None:
    runtimes = [state.daemon(f"containerd of {seat.name}") for seat in SEATS]
    agents = [state.daemon(f"kubelet of {seat.name}") for seat in SEATS]
    for daemon in (*agents, *runtimes):
        daemon.stop()
    first, *others = [folders.images / seat.name for seat in SEATS]
    try:
        for other in others:
            share(first, other)
    finally:
        for runtime, endpoint in zip(runtimes, sockets(folders), strict=True):
            runtime.start()
            runtime.wait_until(lambda endpoint=endpoint: listens(endpoint))
        for agent in agents:
            agent.start()


def share(store: Path, copy: Path) -> None:
    """Make `copy` a store of the same images: content and snapshots, which nobody writes once they are committed,
    by hard links, and the databases that tell of them for real. Nobody may use either store meanwhile."""
    for old in copy.iterdir():
        shutil.rmtree(old)
    for folder in store.iterdir():
        if folder.name not in _NOT_SHARED:
            command("cp", "--archive", "--link", str(folder), str(copy))
    for database in copy.rglob("io.containerd.*/*.db"):
        private = database.with_suffix(".copy")
        shutil.copyfile(database, private)
        private.replace(database)


def listens(endpoint: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(endpoint)) == 0
