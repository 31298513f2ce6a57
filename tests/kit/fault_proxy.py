"""An HTTP proxy that does to chosen requests what networks and overloaded servers do."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


STALL_SECONDS = 1.0


class Fault(Enum):
    BUSY = auto()
    """503 SlowDown; the server never sees the request."""
    EXPIRED = auto()
    """400 ExpiredToken; the server never sees the request."""
    CUT_REQUEST = auto()
    """The connection ends; the server never sees the request."""
    CUT_REPLY = auto()
    """The server carries the request out, and the connection ends before its answer."""
    CUT_BODY = auto()
    """The connection ends in the middle of the answer."""
    STALL = auto()
    """Nothing is answered for STALL_SECONDS; the server never sees the request."""


@dataclass
class FaultProxy:
    """`decide(method, path)` is asked for each request and may choose a fault for it."""

    endpoint: str
    decide: Callable[[str, str], Fault | None] = lambda _method, _path: None
    seen: list[str] = field(default_factory=list)
    """Methods and paths, faulty ones included."""

    def fail_first(self, times: int, fault: Fault, *, method: str) -> None:
        """Let the next requests of this method run into the fault, then heal."""
        left = iter(range(times))
        self.decide = lambda verb, _path: fault if verb == method and next(left, None) is not None else None


@contextmanager
def fault_proxy(upstream: str, *, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[FaultProxy]:
    """A proxy at `address` before the server at `upstream` (`http://host:port`)."""
    behind = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            proxy.seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.decide(self.command, self.path)
            if fault is Fault.STALL:
                time.sleep(STALL_SECONDS)
            if fault in (Fault.CUT_REQUEST, Fault.STALL):
                self.close_connection = True
            elif fault is Fault.BUSY:
                self.answer(503, {"Content-Length": str(len(_SLOW_DOWN))}, _SLOW_DOWN)
            elif fault is Fault.EXPIRED:
                self.answer(400, {"Content-Length": str(len(_EXPIRED))}, _EXPIRED)
            else:
                self.pass_on(body, fault)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = relay  # noqa: N815

        def pass_on(self, body: bytes, fault: Fault | None) -> None:
            upstream = http.client.HTTPConnection(behind, timeout=20)
            try:
                # The signature covers the Host header: it is passed on as it came.
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                upstream.request(self.command, self.path, body=body or None, headers=headers)
                response = upstream.getresponse()
                content = response.read()
            finally:
                upstream.close()
            if fault is Fault.CUT_REPLY:
                self.close_connection = True
                return
            headers = {name: value for name, value in response.getheaders() if name.lower() != "transfer-encoding"}
            headers.setdefault("Content-Length", str(len(content)))
            if fault is Fault.CUT_BODY:
                content = content[: len(content) // 2]
                self.close_connection = True
            self.answer(response.status, headers, content)

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(address, Handler) as server:
        server.daemon_threads = True
        proxy = FaultProxy(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
