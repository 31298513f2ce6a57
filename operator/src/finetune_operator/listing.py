"""What the API server has of all that is watched: the measure of the watches, and where lost events are made up for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from finetune_api.contract import LABEL_MANAGED
from finetune_operator.apply import CHILDREN, Body, ClusterError, Kind, Ref

WATCHED: Mapping[Kind, Mapping[str, str]] = {
    Kind.FINE_TUNE_JOB: {},
    **{kind: {LABEL_MANAGED: "true"} for kind in CHILDREN},
}
"""The labels that select what is watched of each kind, on the server's side."""
RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Lists(Protocol):
    """The part of a cluster that is needed here."""

    async def list_metadata(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        """Raises ClusterError."""


class Listing:
    """In `namespaces`, or in all when there are none. Every method raises ClusterError unless it says otherwise."""

    def __init__(
        self,
        cluster: Lists,
        namespaces: tuple[str, ...],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster = cluster
        self._namespaces = namespaces
        self._sleep = sleep

    async def versions(self, kind: Kind) -> dict[str, str]:
        """resourceVersion of each uid."""
        return {metadata["uid"]: metadata["resourceVersion"] for metadata in await self._metadata(kind)}

    async def refs(self, *, without: Collection[str]) -> list[Ref]:
        """Of every FineTuneJob but those with these uids."""
        listed = [each for each in await self._metadata(Kind.FINE_TUNE_JOB) if each["uid"] not in without]
        return [Ref(Kind.FINE_TUNE_JOB, metadata["namespace"], metadata["name"]) for metadata in listed]

    async def wait_until_allowed(self) -> None:
        """Return once all can be listed, and say what is missing until then: Kopf would end over it.

        A permission that was forgotten, or a CRD that comes later, is then no crash loop. Raises nothing.
        """
        said = ""
        while (missing := await self._missing()) is not None:
            if missing != said:
                logger.warning("waiting for what is to be watched: %s", missing)
                said = missing
            await self._sleep(RETRY_SECONDS)

    async def _missing(self) -> str | None:
        try:
            for kind in WATCHED:
                await self._metadata(kind)
        except ClusterError as error:
            return str(error)
        return None

    async def _metadata(self, kind: Kind) -> list[Mapping[str, Any]]:
        return [
            body["metadata"]
            for namespace in self._namespaces or (None,)
            for body in await self._cluster.list_metadata(kind, namespace, WATCHED[kind])
        ]
