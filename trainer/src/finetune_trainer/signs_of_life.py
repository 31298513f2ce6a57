"""Signs of life around waits that have limits of their own: the store's and the gang's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS = 1.0


@contextmanager
def alive(beat: Callable[[], None]) -> Iterator[None]:
    """While it is held, `beat` is called again and again, in a thread of its own."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(_SECONDS):
            beat()

    thread = threading.Thread(target=go_on, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
