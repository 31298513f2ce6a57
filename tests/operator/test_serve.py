"""Probes answer 200 or 500 with the reasons, and metrics come as Prometheus reads them."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Gauge

from finetune_operator.serve import application, serve


@pytest.mark.parametrize(("path", "reasons"), [("/livez", "complaints"), ("/readyz", "waits_for")])
async def test_a_probe_says_ok_or_why_not(path: str, reasons: str) -> None:
    found: list[str] = []
    callbacks = {"complaints": list, "waits_for": list, reasons: lambda: found}
    served = application(**callbacks, registry=CollectorRegistry())
    async with TestClient(TestServer(served)) as client:
        fine = await client.get(path)
        assert (fine.status, await fine.text()) == (200, "ok")
        found += ["the lease", "the watches"]
        waiting = await client.get(path)
        assert (waiting.status, await waiting.text()) == (500, "the lease\nthe watches")


async def test_metrics_are_in_the_text_format() -> None:
    registry = CollectorRegistry()
    Gauge("answer", "To everything.", registry=registry).set(42)
    served = application(complaints=list, waits_for=list, registry=registry)
    async with TestClient(TestServer(served)) as client:
        response = await client.get("/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert "answer 42.0\n" in await response.text()


async def test_it_listens_until_it_is_cancelled_and_a_taken_port_is_an_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = application(complaints=list, waits_for=list, registry=CollectorRegistry())
    serving = asyncio.create_task(serve(served, host="127.0.0.1", port=port))
    async with aiohttp.ClientSession() as session:
        async with asyncio.timeout(10):
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/livez") as response:
                        assert response.status == 200
                        break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.01)
        second = application(complaints=list, waits_for=list, registry=CollectorRegistry())
        with pytest.raises(OSError, match="address already in use"):
            await serve(second, host="127.0.0.1", port=port)
        serving.cancel()
        await asyncio.wait([serving])
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/livez")
