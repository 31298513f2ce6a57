"""One active operator: a Lease of our own, held before anything is done and renewed while anything is done.

Peering of operators pauses whichever has the lower priority; a Lease says who may act. As in client-go, another
holder's time is measured on our own clock from the moment its record was last seen to change, so that clocks that
disagree cannot make two holders.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from finetune_operator.apply import Body, ClusterError, Manifest

NAME = "finetune-operator"
DURATION = 30.0
"""Another may take over a record that has not changed for so many seconds."""
RENEW_SECONDS = 5.0
GIVE_UP_SECONDS = 20.0
"""Without a renewal for so long we stop: well before another may start."""

logger = logging.getLogger(__name__)


class Leases(Protocol):
    """The part of a cluster that is needed here. Every method may raise ClusterError."""

    async def get_lease(self, namespace: str, name: str) -> Body | None: ...

    async def create_lease(self, manifest: Manifest) -> Body: ...

    async def replace_lease(self, manifest: Manifest) -> Body: ...


class LeaseLost(Exception):
    """Another may be acting: this process must end."""


@dataclass(kw_only=True)
class Lease:
    """`acquire`, then `hold` for as long as anything is done, then `release`."""

    cluster: Leases
    namespace: str
    identity: str
    now: Callable[[], datetime]
    clock: Callable[[], float]
    """Seconds, monotonic."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    held: bool = field(default=False, init=False)
    _seen: tuple[str, float] | None = field(default=None, init=False)
    """resourceVersion of another's record, and when we first saw it."""

    async def acquire(self) -> None:
        """Returns once the lease is ours, however long that takes; an unreachable API server is waited for."""
        said = ""
        while True:
            try:
                holder = await self._try()
            except ClusterError as error:
                holder = None
                obstacle = f"the API server says: {error}"
            else:
                if holder == self.identity:
                    logger.info("lease %s/%s acquired by %s", self.namespace, NAME, self.identity)
                    self.held = True
                    return
                obstacle = f"held by {holder}"
            if obstacle != said:
                logger.info("waiting for lease %s/%s, %s", self.namespace, NAME, obstacle)
                said = obstacle
            await self.sleep(RENEW_SECONDS)

    async def hold(self) -> None:
        """Renew until cancelled. Raises LeaseLost when another has it, or when it could not be renewed for too long."""
        renewed = self.clock()
        while True:
            await self.sleep(RENEW_SECONDS)
            # Another counts from the write, of which the answer may have been long under way.
            asked = self.clock()
            try:
                async with asyncio.timeout(max(RENEW_SECONDS, GIVE_UP_SECONDS - (asked - renewed))):
                    holder = await self._try()
            except (ClusterError, TimeoutError) as error:
                if self.clock() - renewed >= GIVE_UP_SECONDS:
                    self.held = False
                    raise LeaseLost(f"not renewed for {GIVE_UP_SECONDS:.0f} s: {error}") from None
                logger.warning("lease not renewed: %s", error)
                continue
            if holder != self.identity:
                self.held = False
                raise LeaseLost(f"taken by {holder}")
            renewed = asked

    async def release(self) -> None:
        """Let another take over at once; best effort."""
        if not self.held:
            return
        self.held = False
        try:
            lease = await self.cluster.get_lease(self.namespace, NAME)
            if lease is not None and _holder(lease) == self.identity:
                await self.cluster.replace_lease(self._record(lease, holder=""))
        except ClusterError as error:
            logger.warning("lease not released: %s", error)

    async def _try(self) -> str:
        """Take or renew the lease if that is allowed; returns who holds it now."""
        lease = await self.cluster.get_lease(self.namespace, NAME)
        if lease is None:
            await self.cluster.create_lease(self._record(None, holder=self.identity))
            return self.identity
        holder = _holder(lease)
        if holder and holder != self.identity and not self._expired(lease):
            return holder
        await self.cluster.replace_lease(self._record(lease, holder=self.identity))
        return self.identity

    def _expired(self, lease: Body) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self.clock())
        return self.clock() - self._seen[1] >= DURATION

    def _record(self, lease: Body | None, *, holder: str) -> Manifest:
        time = self.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(_spec(lease)) if lease else {}
        if holder != spec.get("holderIdentity"):
            spec |= {"acquireTime": time, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        metadata: dict[str, Any] = {"name": NAME, "namespace": self.namespace}
        if lease:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {**spec, "holderIdentity": holder, "leaseDurationSeconds": int(DURATION), "renewTime": time},
        }


def _spec(lease: Body) -> Mapping[str, Any]:
    # A Lease that somebody made by hand may have none.
    return lease.get("spec") or {}


def _holder(lease: Body) -> str:
    return str(_spec(lease).get("holderIdentity") or "")
