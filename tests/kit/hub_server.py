"""A Hugging Face Hub with one dataset, on loopback: as much of its API as reading takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "owner/name"
_PAGE = 2
"""Entries of a tree on one page; the Hub has 1,000."""


@dataclass
class Hub:
    """Its dataset is `REPOSITORY`."""

    endpoint: str
    store: str
    """Where its large files are read from."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """What stands in each commit, by path."""
    revisions: dict[str, str] = field(default_factory=dict)
    """Commits by the names of branches and tags."""
    large: int = 1000
    """Bytes from which a file is stored in LFS: elsewhere, where a token of the Hub's means nothing."""
    token: str | None = None
    """Who reads must have it, if there is one."""
    gated: bool = False
    serves_ranges: bool = True
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Requested paths, and the token that came with each."""

    def commit(self, files: Mapping[str, bytes], revision: str = "main") -> str:
        """What `revision` names from now on."""
        names = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        sha = hashlib.sha1(json.dumps([len(self.files), names]).encode()).hexdigest()  # noqa: S324 as git does
        self.files[sha] = dict(files)
        self.revisions[revision] = self.revisions[sha] = sha
        return sha


@contextmanager
def hub_server() -> Iterator[Hub]:
    """A Hub without a commit, and a second server for its large files."""
    with _serving(_Store) as store, _serving(_Api) as api:
        hub = Hub(_address(api), _address(store))
        store.hub = api.hub = hub  # type: ignore[attr-defined]
        yield hub


def _address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def _serving(handler: type[_Handler]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        return hub

    @property
    def token(self) -> str | None:
        found = self.headers.get("authorization")
        return None if found is None else found.removeprefix("Bearer ")

    def send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_file(self, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if asked is None or not self.hub.serves_ranges:
            self.send(200, content)
            return
        start, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
        self.send(206, content[start : last + 1], Content_Range=f"bytes {start}-{last}/{len(content)}")

    def log_message(self, *_: object) -> None:
        pass


class _Api(_Handler):
    def do_GET(self) -> None:
        self.hub.seen.append((self.path, self.token))
        url = urlsplit(self.path)
        if self.hub.token is not None and self.token != self.hub.token:
            if self.token is not None:
                self.send(401, X_Error_Message="Invalid credentials in Authorization header")
            else:
                self.send(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?", url.path):
            self._describe(
                found[1], found[2], unquote(found[3] or "main"), unquote(found[4] or ""), parse_qs(url.query)
            )
        elif found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", url.path):
            self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        else:
            self.send(404)

    def _files(self, repository: str, revision: str) -> dict[str, bytes] | None:
        if repository != REPOSITORY:
            self.send(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return None
        if revision not in self.hub.revisions:
            self.send(404, X_Error_Code="RevisionNotFound", X_Error_Message=f"Invalid rev id: {revision}")
            return None
        return self.hub.files[self.hub.revisions[revision]]

    def _describe(
        self, repository: str, what: str | None, revision: str, folder: str, query: Mapping[str, list[str]]
    ) -> None:
        files = self._files(repository, revision)
        if files is None:
            return
        if what != "tree":
            answer = {"id": repository, "sha": self.hub.revisions[revision], "siblings": []}
            self.send(200, json.dumps(answer).encode())
            return
        below = f"{folder}/" if folder else ""
        entries = {}
        for path in sorted(path for path in files if path.startswith(below)):
            inner = path.removeprefix(below)
            if "/" in inner:
                outer = below + inner.partition("/")[0]
                entries[outer] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": outer}
            if "/" not in inner or query["recursive"] == ["true"]:
                entries[path] = self._entry(path, files[path])
        if folder and not entries:
            self.send(404, X_Error_Code="EntryNotFound", X_Error_Message=f"{folder} does not exist")
            return
        start = int(query.get("cursor", ["0"])[0])
        page = list(entries.values())[start : start + _PAGE]
        more = {}
        if start + _PAGE < len(entries):
            target = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive={query['recursive'][0]}&cursor="
            more = {"Link": f'<{target}{start + _PAGE}>; rel="next"'}
        self.send(200, json.dumps(page).encode(), **more)

    def _entry(self, path: str, content: bytes) -> dict[str, object]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 as git does
        entry: dict[str, object] = {"type": "file", "oid": git, "size": len(content), "path": path}
        if len(content) >= self.hub.large:
            oid = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        return entry

    def _resolve(self, repository: str, revision: str, path: str) -> None:
        files = self._files(repository, revision)
        if files is None:
            return
        if self.hub.gated:
            self.send(403, X_Error_Code="GatedRepo", X_Error_Message="Access to this dataset is restricted")
        elif path not in files:
            self.send(404, X_Error_Code="EntryNotFound")
        elif len(files[path]) >= self.hub.large:
            self.send(302, Location=f"{self.hub.store}/{revision}/{path}", X_Repo_Commit=self.hub.revisions[revision])
        else:
            self.send_file(files[path])


class _Store(_Handler):
    def do_GET(self) -> None:
        self.hub.seen.append((self.path, self.token))
        _, revision, path = unquote(self.path).split("/", 2)
        self.send_file(self.hub.files[self.hub.revisions[revision]][path])
