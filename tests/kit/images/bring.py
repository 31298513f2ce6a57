"""From sources to nodes: the one command, and what the tests on our own nodes begin with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from images.build import build
from images.layout import Layout
from images.load import load
from images.store import Store
from node import images as nodes
from node.state import Folders, State


def bring(state: State, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Build the images and have them on every node of our own cluster.

    Raises:
        what `build` raises; CommandFailed: what a node's containerd refused.
    """
    store = Store.of(env)
    names = build(store, env, say)
    started = time.monotonic()
    layout = Layout(store.folder / "layout")
    with store.locked():
        images = [layout.export(store, name) for name in names]

        def import_into(socket: Path) -> None:
            for image in images:
                load(store, layout, image, socket)

        nodes.load(Folders.of(env), state, import_into)
        layout.keep(images)
    say(f"images are on every node, {time.monotonic() - started:.0f} s after they were built")
