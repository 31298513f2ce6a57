"""hf:// storage: datasets of the Hugging Face Hub, read by commit and in ranges, never written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # documented

from finetune_api.contract import HUB_ENDPOINT, HUB_SECRET_KEYS
from finetune_trainer.storage.ahead import PART_BYTES, read_ahead
from finetune_trainer.storage.calls import Calls, Patience, of_length
from finetune_trainer.storage.hub_calls import judge
from finetune_trainer.storage.keys import check_keys
from finetune_trainer.storage.objects import NotFound, StorageError, StoredObject

_URI: Final = re.compile(
    r"hf://datasets/(?P<repository>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/convert/[^/]+|refs/pr/[0-9]+|[^/]+))?(?:/(?P<path>.*))?"
)
_COMMIT: Final = re.compile("[0-9a-f]{40}")
_TYPE: Final = "dataset"
_Page = list[dict[str, Any]]
"""Files and folders of a tree, as the Hub describes them."""


@dataclass(frozen=True)
class _Place:
    """A file, or the start of its name, in one state of a dataset."""

    repository: str
    """`owner/name`."""
    revision: str
    path: str

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    def uri_of(self, path: str) -> str:
        return f"hf://datasets/{self.repository}@{self.revision}/{path}"


class HubStorage:
    """The ReadableStorage protocol on datasets of one Hub; safe in threads.

    Without a revision a uri means `main`. What is found is named by its commit, so it never changes; its etag is the
    hash of its content, as git (large files: as LFS) has it. The token comes from HF_TOKEN, or of whoever logged in.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        patience: Patience | None = None,
        timeout: float = 60,
        ahead_size: int = PART_BYTES,
    ) -> None:
        """`endpoint` is a URL, absent: HF_ENDPOINT, or huggingface.co; `timeout` in seconds, of each step of a request.

        Raises KeysRefused for a token that cannot be sent.
        """
        check_keys(os.environ, HUB_SECRET_KEYS)
        self._endpoint = (endpoint or os.environ.get(HUB_ENDPOINT) or constants.ENDPOINT).rstrip("/")
        self._calls = Calls(f"{self._endpoint} ({HUB_ENDPOINT})", judge, patience or Patience())
        self._timeout = timeout
        self._ahead_size = ahead_size
        self._trees: dict[tuple[_Place, bool], dict[str, StoredObject]] = {}

    @cached_property
    def _headers(self) -> dict[str, str]:
        # Unpacked on the way, a range would not be as long as what was asked for.
        headers: dict[str, str] = build_hf_headers(headers={"accept-encoding": "identity"})
        return headers

    def pinned(self, uri: str) -> str:
        place = _place(uri)
        if _COMMIT.fullmatch(place.revision):
            return uri
        info = self._calls.run(
            uri,
            lambda: HfApi(self._endpoint).dataset_info(
                place.repository, revision=place.revision, timeout=self._timeout
            ),
        )
        if info.sha is None:
            raise StorageError(f"{uri}: {self._endpoint} names no commit")
        return _Place(place.repository, info.sha, "").uri_of(place.path)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        place = _place(self.pinned(prefix))
        found = self._tree(place, recursive=True)
        for uri in sorted(found):
            if uri.startswith(place.uri_of(place.path)):
                yield found[uri]

    def stat(self, uri: str) -> StoredObject | None:
        place = _place(self.pinned(uri))
        return self._tree(place, recursive=False).get(place.uri_of(place.path))

    def open(self, uri: str) -> BinaryIO:
        stored = self._found(uri)
        return read_ahead(
            stored.size, lambda start, stop: self._range(stored, start, stop), part_bytes=self._ahead_size
        )

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        stored = self._found(uri)
        stop = stored.size if length is None else min(start + length, stored.size)
        return (self._range(stored, start, stop) if start < stop else b""), stored.etag

    def _found(self, uri: str) -> StoredObject:
        stored = self.stat(uri)
        if stored is None:
            raise NotFound(f"{uri}: not found")
        return stored

    def _range(self, stored: StoredObject, start: int, stop: int) -> bytes:
        """Bytes [start, stop)."""
        place = _place(stored.uri)
        url = hf_hub_url(
            place.repository, place.path, repo_type=_TYPE, revision=place.revision, endpoint=self._endpoint
        )

        def get() -> bytes:
            headers = {**self._headers, "range": f"bytes={start}-{stop - 1}"}
            with get_session().stream("GET", url, headers=headers, timeout=self._timeout) as response:
                hf_raise_for_status(response)
                # The whole of a large file would not fit in memory.
                if response.status_code != 206 and (start, stop) != (0, stored.size):
                    raise StorageError(f"{stored.uri}: {response.url.host} sends no parts of files")
                return of_length(response.read(), stop - start)

        return self._calls.run(stored.uri, get)

    def _tree(self, place: _Place, *, recursive: bool) -> dict[str, StoredObject]:
        """The files of `place.folder` by uri, which are asked for once, for a commit does not change."""
        folder = _Place(place.repository, place.revision, place.folder)
        key = (folder, recursive)
        if key not in self._trees:
            self._trees[key] = {
                stored.uri: stored for page in self._pages(folder, recursive) for stored in _files(folder, page)
            }
        return self._trees[key]

    def _pages(self, folder: _Place, recursive: bool) -> Iterator[_Page]:
        # HfApi.list_repo_tree would wait for each page without a timeout.
        path = f"/{quote(folder.path, safe='')}" if folder.path else ""
        url = f"{self._endpoint}/api/datasets/{folder.repository}/tree/{quote(folder.revision, safe='')}{path}"
        next_url: str | None = f"{url}?recursive={str(recursive).lower()}&expand=false"
        while next_url is not None:
            page, next_url = self._page(folder.uri_of(folder.path), next_url)
            yield page

    def _page(self, uri: str, url: str) -> tuple[_Page, str | None]:
        def get() -> tuple[_Page, str | None]:
            response = get_session().get(url, headers=self._headers, timeout=self._timeout)
            try:
                hf_raise_for_status(response)
            except RemoteEntryNotFoundError:
                return [], None  # there is no such folder
            return response.json(), response.links.get("next", {}).get("url")

        return self._calls.run(uri, get)


def _files(place: _Place, page: _Page) -> Iterator[StoredObject]:
    for entry in page:
        if entry["type"] == "file":
            etag = entry["lfs"]["oid"] if entry.get("lfs") else entry["oid"]
            yield StoredObject(uri=place.uri_of(entry["path"]), size=entry["size"], etag=etag)


def _place(uri: str) -> _Place:
    found = _URI.fullmatch(uri)
    if found is None:
        raise StorageError(f"{uri}: not an hf://datasets/owner/name[@revision]/path")
    return _Place(found["repository"], found["revision"] or constants.DEFAULT_REVISION, found["path"] or "")
