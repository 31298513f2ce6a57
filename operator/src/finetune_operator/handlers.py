"""What Kopf does for us: it watches, shows trimmed entries in its indices, and every event only enqueues a key.

Nothing here writes to the cluster: no finalizers, no annotations, no Events of Kopf's. Handlers of kind `on.event`
are never retried by Kopf, so they must not fail, and all work that can fail happens behind the queue.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import kopf

from finetune_api.contract import LABEL_JOB
from finetune_operator.apply import CHILDREN, Body, ClusterError, Kind, Ref
from finetune_operator.apply.kube import Connection
from finetune_operator.listing import WATCHED
from finetune_operator.shown import Entry, Shown, Writer

_OUTPUTS = "outputs"

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told of events besides the queue."""

    def pod_seen(self, pod: Body) -> None: ...

    def pod_gone(self, pod: Body) -> None: ...


def kopf_settings() -> kopf.OperatorSettings:
    """Kopf as a watcher and nothing else: standalone, silent towards the cluster, quick to notice and to leave."""
    tuned = kopf.OperatorSettings()
    tuned.peering.standalone = True
    tuned.posting.enabled = False
    # A limit below the number of objects would stop the first listing for ever.
    tuned.queueing.worker_limit = None
    tuned.queueing.exit_timeout = 0.5
    # Otherwise every CRD of the cluster is streamed to us; ours is there, for its objects could be listed.
    tuned.scanning.disabled = True
    tuned.process.ultimate_exiting_timeout = 25
    tuned.networking.request_timeout = 30
    tuned.networking.connect_timeout = 5
    tuned.networking.error_backoffs = (1, 2, 3, 5, 8, 13)
    tuned.networking.enforce_retry_after = True
    tuned.watching.server_timeout = 300
    tuned.watching.client_timeout = 310
    tuned.watching.connect_timeout = 10
    tuned.watching.reconnect_backoff = 1
    tuned.watching.inactivity_timeout = 70
    tuned.watching.chunk_size = 500
    for kind, labels in WATCHED.items():
        if labels:
            tuned.watching.label_selectors[_resource(kind)] = ",".join(
                f"{key}={value}" for key, value in labels.items()
            )
    return tuned


def registry(
    *,
    shown: Shown,
    enqueue: Callable[[Ref], None],
    listeners: tuple[Listener, ...],
    forget: Callable[[str], None],
    count: Callable[[Kind], None],
    connection: Callable[[], Awaitable[Connection]],
) -> kopf.OperatorRegistry:
    """All handlers. `forget` takes the uid of a FineTuneJob that is gone, `count` the kind of every event."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return connection_info(await connection())

    @kopf.on.startup(registry=handlers)
    async def startup(**indices: Any) -> None:
        shown.indices = {kind: indices[kind.plural] for kind in WATCHED}
        shown.outputs = indices[_OUTPUTS]

    for kind in WATCHED:

        @kopf.index(*_resource(kind), id=kind.plural, registry=handlers)
        async def index(body: kopf.Body, **_: Any) -> dict[str, Entry]:
            phase, finished = body.status.get("phase", ""), "finishTime" in body.status
            return {body.metadata["uid"]: Entry(body.metadata["resourceVersion"], phase, finished)}

    @kopf.index(*_resource(Kind.FINE_TUNE_JOB), id=_OUTPUTS, registry=handlers)
    async def outputs(body: kopf.Body, **_: Any) -> dict[str, Writer]:
        metadata = body.metadata
        if "finishTime" in body.status or "deletionTimestamp" in metadata:
            return {}
        ref = Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], metadata["name"])
        return {body.spec["output"]["uri"]: Writer(metadata["uid"], ref)}

    @kopf.on.event(*_resource(Kind.FINE_TUNE_JOB), registry=handlers)
    async def fine_tune_job(event: kopf.RawEvent, **_: Any) -> None:
        count(Kind.FINE_TUNE_JOB)
        metadata = event["object"]["metadata"]
        if event["type"] == "DELETED":
            forget(metadata["uid"])
        enqueue(Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], metadata["name"]))

    def look_at_owner_after(kind: Kind) -> None:
        @kopf.on.event(*_resource(kind), id=kind.plural, registry=handlers)
        async def child(event: kopf.RawEvent, **_: Any) -> None:
            count(kind)
            _enqueue_owner(event["object"], enqueue)

    # One that somebody deleted comes back at once: without its NetworkPolicy a gang lies open until the next look.
    for kind in CHILDREN:
        if kind is not Kind.POD:
            look_at_owner_after(kind)

    @kopf.on.event(*_resource(Kind.POD), registry=handlers)
    async def pod(event: kopf.RawEvent, **_: Any) -> None:
        count(Kind.POD)
        # First, for the look comes later anyway, and not at all if a listener fails.
        _enqueue_owner(event["object"], enqueue)
        for listener in listeners:
            (listener.pod_gone if event["type"] == "DELETED" else listener.pod_seen)(event["object"])

    return handlers


def connection_info(connection: Connection) -> kopf.ConnectionInfo:
    """Kopf's credentials: the same as those of our own client."""
    scheme, _, token = (connection.authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=connection.server,
        ca_path=connection.ca_file,
        insecure=not connection.verify,
        scheme=scheme or None,
        token=token or None,
        certificate_path=connection.certificate_file,
        private_key_path=connection.key_file,
    )


async def resync(
    refs: Callable[[], Awaitable[list[Ref]]],
    enqueue_after: Callable[[Ref, float], None],
    *,
    seconds: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[float, float], float] = random.uniform,
) -> None:
    """Enqueue all `refs`, every `seconds`, spread over a tenth of that time.

    Events are hints: one that was lost is made up for here.
    """
    while True:
        await sleep(seconds)
        try:
            listed = await refs()
        except ClusterError as error:
            logger.warning("FineTuneJobs cannot be listed: %s", error)
            continue
        for ref in listed:
            enqueue_after(ref, jitter(0.0, seconds / 10))


def _resource(kind: Kind) -> tuple[str, str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return group, version, kind.plural


def _enqueue_owner(body: Body, enqueue: Callable[[Ref], None]) -> None:
    # Pods are owned by Jobs, so it is the label that names the FineTuneJob. Anybody can write a label:
    # what follows is only one look too many.
    metadata = body["metadata"]
    name = metadata.get("labels", {}).get(LABEL_JOB)
    if name:
        enqueue(Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], name))
