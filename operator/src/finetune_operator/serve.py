"""What the kubelet and Prometheus ask this process over HTTP: /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

logger = logging.getLogger(__name__)


def application(
    *,
    complaints: Callable[[], Sequence[str]],
    waits_for: Callable[[], Sequence[str]],
    registry: CollectorRegistry,
) -> web.Application:
    """`complaints`: why the process should be started anew. `waits_for`: what is missing until it acts."""
    served = web.Application()
    served.router.add_get("/livez", _probe(complaints))
    served.router.add_get("/readyz", _probe(waits_for))

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served.router.add_get("/metrics", metrics)
    return served


async def serve(served: web.Application, *, host: str, port: int) -> None:
    """Until cancelled. Raises OSError when the port is taken."""
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        logger.info("serving /livez, /readyz and /metrics on %s:%d", host, port)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _probe(obstacles: Callable[[], Sequence[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = obstacles()
        return web.Response(text="\n".join(found) or "ok", status=500 if found else 200)

    return answer
