"""How word of a stage gets out: ranks leave it in files, the pod's first process answers `/progress` and `/metrics`."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from finetune_api.progress import Progress
from finetune_trainer import exposition


def _json(progress: Progress) -> bytes:
    return progress.model_dump_json(by_alias=True, exclude_none=True).encode()


_ANSWERS: Final[Mapping[str, tuple[str, Callable[[Progress], bytes]]]] = {
    "/progress": ("application/json", _json),
    "/metrics": (exposition.CONTENT_TYPE, exposition.written),
}


class ProgressFile:
    """One writer, one reader. Its modification time is the writer's last sign of life."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def say(self, progress: Progress) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(_json(progress))
        partial.rename(self._path)

    def beat(self) -> None:
        """A sign of life without a word."""
        os.utime(self._path)

    def heard(self) -> tuple[Progress, int] | None:
        """The last word, and a number that changes with every sign of life. None before the first word."""
        try:
            beat = self._path.stat().st_mtime_ns
            return Progress.model_validate_json(self._path.read_bytes()), beat
        except FileNotFoundError:
            return None


@contextmanager
def serving(latest: Callable[[], Progress | None], *, port: int, loopback: bool) -> Iterator[int]:
    """Answer `GET /progress` and `GET /metrics` with what `latest` returns, 503 while it is None.

    Yields the port; 0 picks a free one.

    Listens on loopback only, or on every interface of a pod, in both IP families where there are two.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in _ANSWERS:
                self.send_error(HTTPStatus.NOT_FOUND)
            elif (progress := latest()) is None:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                content_type, written = _ANSWERS[self.path]
                content = written(progress)
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(ConnectionError):  # who asked waits no more
                    self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 as http.server has it
            """A poll every few seconds is no news."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if not loopback and socket.has_dualstack_ipv6() else socket.AF_INET
        daemon_threads = True

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    with Server(("127.0.0.1" if loopback else "", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="progress", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
