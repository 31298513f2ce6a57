"""The Cluster that is a real API server: JSON in, JSON out, every refusal as one of four exceptions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from finetune_api.contract import FIELD_MANAGER, GROUP
from finetune_operator.apply import (
    Body,
    ClusterError,
    Conflict,
    Event,
    Kind,
    Manifest,
    Ref,
    Unavailable,
)
from finetune_operator.apply.refusals import error_from

PAGE = 500
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
NOTE_MAX = 1024
"""Bytes; the API server refuses a longer note in an Event."""

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_METADATA_LIST = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_LEASE = "coordination.k8s.io/v1"
_EVENT = "events.k8s.io/v1"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How the API server is reached, for the client that watches."""

    server: str
    ca_file: str | None
    verify: bool
    authorization: str | None
    """`Bearer …`; None when a certificate is used."""
    certificate_file: str | None
    key_file: str | None


class KubeCluster:
    """Make it with `connect`, end it with `close`."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        login: Callable[[Configuration], Any],
        now: Callable[[], datetime],
        identity: str,
    ) -> None:
        self._configuration = configuration
        self._login = login
        self._client = ApiClient(configuration)
        self._now = now
        self._identity = identity

    @classmethod
    async def connect(cls, environ: Mapping[str, str], *, now: Callable[[], datetime], identity: str) -> KubeCluster:
        """By KUBECONFIG, else as the pod's service account, else by ~/.kube/config; no request is made.

        Raises ValueError that says what is wrong with the one that was found.
        """

        async def login(configuration: Configuration) -> None:
            if not environ.get("KUBECONFIG") and environ.get("KUBERNETES_SERVICE_HOST"):
                load_incluster_config(client_configuration=configuration)
                return
            path = environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
            await load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)

        configuration = Configuration()
        try:
            await login(configuration)
        # TypeError is what the client makes of an empty file.
        except (ConfigException, OSError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"no access to a cluster (KUBECONFIG or a pod's service account): {error}") from None
        return cls(configuration, login=login, now=now, identity=identity)

    async def close(self) -> None:
        await self._client.close()

    async def connection(self) -> Connection:
        """The credentials, read anew: they are asked for when the ones before were refused."""
        await self._login(self._configuration)
        return Connection(
            server=self._configuration.host,
            ca_file=self._configuration.ssl_ca_cert,
            verify=self._configuration.verify_ssl,
            authorization=await self._configuration.get_api_key_with_prefix("BearerToken"),
            certificate_file=self._configuration.cert_file,
            key_file=self._configuration.key_file,
        )

    async def get(self, ref: Ref) -> Body | None:
        return await self._get(_path(ref.kind.api_version, ref.kind.plural, ref.namespace, ref.name))

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        # The items of a list come without their kind; a single object, and one from LocalCluster, has it.
        typed = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**typed, **item} for item in await self._list(kind, namespace, labels, _JSON)]

    async def list_metadata(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        """As `list`, but of each object only its `metadata`."""
        return await self._list(kind, namespace, labels, _METADATA_LIST)

    async def create(self, manifest: Manifest) -> Body:
        plural = next(kind.plural for kind in Kind if (kind.api_version, kind.kind) == _kind_of(manifest))
        path = _path(manifest["apiVersion"], plural, manifest["metadata"]["namespace"])
        # A field the server does not know would be dropped in silence: a typo of ours, or an older cluster.
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._request("POST", path, query=query, body=manifest)

    async def delete(self, ref: Ref, *, uid: str, grace_seconds: int | None = None) -> None:
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        path = _path(ref.kind.api_version, ref.kind.plural, ref.namespace, ref.name)
        await self._request("DELETE", path, body=options, absent_is_fine=True)

    async def write_status(self, ref: Ref, status: Body, *, resource_version: str) -> Body:
        path = _path(ref.kind.api_version, ref.kind.plural, ref.namespace, ref.name) + "/status"
        # A merge patch would leave what the new status lacks. The version is set, not tested: a `test` that fails
        # is 422, as an invalid status is, while an object of another version is the Conflict that it should be.
        patch: Sequence[Body] = [
            {"op": "add", "path": "/metadata/resourceVersion", "value": resource_version},
            {"op": "add", "path": "/status", "value": status},
        ]
        written = await self._request(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type=_JSON_PATCH,
            absent_is_fine=True,
        )
        if not written:
            raise Conflict(f"{ref.kind.kind} {ref.namespace}/{ref.name} is gone")
        return written

    async def post_event(self, about: Body, event: Event) -> None:
        metadata = about["metadata"]
        logger.info("%s/%s: %s: %s", metadata["namespace"], metadata["name"], event.reason, event.message)
        manifest = {
            "apiVersion": _EVENT,
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "action": event.reason,
            "note": _cut(event.message),
            "reportingController": f"{GROUP}/operator",
            "reportingInstance": self._identity,
        }
        path = _path(_EVENT, "events", metadata["namespace"])
        try:
            await self._request("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)
        except ClusterError as error:
            logger.warning("%s/%s: event not posted: %s", metadata["namespace"], metadata["name"], error)

    async def get_lease(self, namespace: str, name: str) -> Body | None:
        return await self._get(_path(_LEASE, "leases", namespace, name))

    async def create_lease(self, manifest: Manifest) -> Body:
        """Raises AlreadyExists or Rejected."""
        return await self._request("POST", _path(_LEASE, "leases", manifest["metadata"]["namespace"]), body=manifest)

    async def replace_lease(self, manifest: Manifest) -> Body:
        """Raises Conflict when its resourceVersion is not the current one."""
        metadata = manifest["metadata"]
        path = _path(_LEASE, "leases", metadata["namespace"], metadata["name"])
        return await self._request("PUT", path, body=manifest)

    async def _get(self, path: str) -> Body | None:
        return await self._request("GET", path, absent_is_fine=True) or None

    async def _list(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], accept: str
    ) -> Sequence[dict[str, Any]]:
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = label_selector(labels)
        path = _path(kind.api_version, kind.plural, namespace)
        items: list[dict[str, Any]] = []
        while True:
            page = await self._request("GET", path, query=query, accept=accept)
            # An empty list of metadata comes as null.
            items += page["items"] or ()
            more = page["metadata"].get("continue")
            if not more:
                return items
            query["continue"] = more

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | Sequence[Body] | None = None,
        accept: str = _JSON,
        content_type: str = _JSON,
        absent_is_fine: bool = False,
    ) -> dict[str, Any]:
        """The answer; empty for a 404 that is fine. Raises ClusterError."""
        headers = {"Accept": accept, "Content-Type": content_type}
        send = (method, path, query or {}, body, headers)
        try:
            status, answered, answer = await self._send(*send)
            if status == HTTPStatus.UNAUTHORIZED:
                await self._login(self._configuration)
                status, answered, answer = await self._send(*send)
            if status == HTTPStatus.NOT_FOUND and absent_is_fine:
                return {}
            if status >= HTTPStatus.BAD_REQUEST:
                raise error_from(status, answered, answer)
            document: dict[str, Any] = json.loads(answer)
        except TimeoutError:
            raise Unavailable(f"{method} {path}: no answer in {TIMEOUT.total:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError, ConfigException) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        return document

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | Sequence[Body] | None,
        headers: Mapping[str, str],
    ) -> tuple[int, Mapping[str, str], bytes]:
        verb, url, serialized, payload, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=dict(headers),
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._client.call_api(verb, url, serialized, payload, _request_timeout=TIMEOUT)
        answer: bytes = await response.read()
        return response.status, response.headers, answer


def label_selector(labels: Mapping[str, str]) -> str:
    """All of these labels, as the API server's query parameter."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _kind_of(manifest: Manifest) -> tuple[str, str]:
    return manifest["apiVersion"], manifest["kind"]


def _cut(message: str) -> str:
    encoded = message.encode()
    return message if len(encoded) <= NOTE_MAX else encoded[: NOTE_MAX - 3].decode(errors="ignore") + "…"


def _path(api_version: str, plural: str, namespace: str | None, name: str | None = None) -> str:
    root = "apis" if "/" in api_version else "api"
    where = ("namespaces", quote(namespace, safe="")) if namespace is not None else ()
    return "/" + "/".join((root, api_version, *where, plural, *((quote(name, safe=""),) if name is not None else ())))
