"""A test's own way to the API server: plain REST, plain JSON, no model classes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import urllib3

Manifest = dict[str, Any]
T = TypeVar("T")
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server refused; `status` is the HTTP code and the text is its own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Resource:
    """One kind of namespaced object: where its REST collection lies."""

    group_version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        root = "/api" if "/" not in self.group_version else "/apis"
        parts = [root, self.group_version, "namespaces", namespace, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


PODS = Resource("v1", "pods")
SERVICES = Resource("v1", "services")
CONFIG_MAPS = Resource("v1", "configmaps")
EVENTS = Resource("v1", "events")
RESOURCE_QUOTAS = Resource("v1", "resourcequotas")
JOBS = Resource("batch/v1", "jobs")
NETWORK_POLICIES = Resource("networking.k8s.io/v1", "networkpolicies")
FINETUNE_JOBS = Resource("finetune.dev/v1alpha1", "finetunejobs")


class Client:
    """Thread-safe; every method raises ApiError when the server refuses. No token where a proxy adds its own."""

    def __init__(self, url: str, token: str | None = None, certificate_authority: str | None = None) -> None:
        self._url = url
        self._http = urllib3.PoolManager(
            maxsize=8,
            ca_certs=certificate_authority,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=10,
            retries=False,
        )

    def request(self, method: str, path: str, body: object = None, content_type: str = JSON) -> Manifest:
        response = self._http.request(
            method,
            self._url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._http.headers, "Content-Type": content_type},
        )
        document: Manifest = json.loads(response.data) if response.data[:1] == b"{" else {}
        if response.status >= 400:
            raise ApiError(response.status, document.get("message", response.data.decode(errors="replace")))
        return document

    def ready(self) -> bool:
        try:
            self.request("GET", "/readyz")
        except (ApiError, urllib3.exceptions.HTTPError):
            return False
        return True

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        return self.request("POST", resource.path(manifest["metadata"]["namespace"]), manifest)

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The object, or None when there is none."""
        try:
            return self.request("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str, selector: str = "") -> list[Manifest]:
        query = f"?labelSelector={selector}" if selector else ""
        items: list[Manifest] = self.request("GET", resource.path(namespace) + query)["items"]
        return items

    def history(self, resource: Resource, namespace: str, since: str) -> Sequence[Manifest]:
        """Every version of every object after this resourceVersion, replayed by a watch."""
        query = f"?watch=true&resourceVersion={since}&timeoutSeconds=1"
        response = self._http.request("GET", self._url + resource.path(namespace) + query)
        return [json.loads(line)["object"] for line in response.data.splitlines()]

    def patch(self, resource: Resource, namespace: str, name: str, change: Manifest, subresource: str = "") -> Manifest:
        return self.request("PATCH", resource.path(namespace, name, subresource), change, MERGE_PATCH)

    def delete(self, resource: Resource, namespace: str, name: str, propagation: str = "Background") -> None:
        self.request("DELETE", resource.path(namespace, name), {"propagationPolicy": propagation})


def eventually(probe: Callable[[], T | None], timeout_seconds: float = 30.0) -> T:
    """Poll until `probe` returns something true, and return that; an AssertionError says what it last returned."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, f"still {found!r} after {timeout_seconds:g} s"
        time.sleep(0.05)
    return found
