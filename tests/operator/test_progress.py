"""Rank 0 of each running job is asked, what it says is remembered, and silence is said once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_operator.apply import Kind, Ref
from finetune_operator.observe import Heard
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.progress import AT_ONCE, Poller, Target, target_from
from jobs import merge

START = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Ref(Kind.FINE_TUNE_JOB, "ml", "triage")
READING = Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, step=7, total_steps=300)


def pod(**overrides: Any) -> dict[str, Any]:
    """Rank 0 of a running training job."""
    return merge(
        {
            "metadata": {
                "name": "triage-train-1-0-abcde",
                "namespace": "ml",
                "uid": "pod-1",
                "labels": {
                    "finetune.dev/job": "triage",
                    "finetune.dev/job-uid": "job-1",
                    "batch.kubernetes.io/job-completion-index": "0",
                },
            },
            "spec": {
                "containers": [
                    {
                        "name": "trainer",
                        "ports": [
                            {"name": "rendezvous", "containerPort": 29500},
                            {"name": "progress", "containerPort": 8080},
                        ],
                    }
                ]
            },
            "status": {"phase": "Running", "podIP": "10.1.2.3"},
        },
        overrides,
    )


def test_a_running_rank_0_is_a_target() -> None:
    assert target_from(pod()) == Target(JOB, "job-1", "10.1.2.3", 8080)


@pytest.mark.parametrize(
    "overrides",
    [
        {"status": {"phase": "Pending"}},
        {"status": {"phase": "Succeeded"}},
        {"status": {"podIP": None}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"labels": {"batch.kubernetes.io/job-completion-index": "1"}}},
        {"metadata": {"labels": {"finetune.dev/job-uid": None}}},
        {"spec": {"containers": [{"name": "trainer"}]}},
        {"spec": {"containers": [{"name": "sidecar", "ports": [{"name": "progress", "containerPort": 1}]}]}},
    ],
)
def test_nobody_else_is_asked(overrides: dict[str, Any]) -> None:
    assert target_from(pod(**overrides)) is None


class World:
    """A server in the place of all rank 0s, and time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = START
        self.memory = Memory()
        self.memory.expect("ml", "job-1")
        self.enqueued: list[Ref] = []
        self.answer: Any = READING.to_json()
        self.status = 200
        self.asked = 0
        self.together = 0
        self.most_together = 0
        self.poller: Poller

    async def handle(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(0.01)
        self.together -= 1
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        body = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=body, status=self.status, headers=headers)

    async def ask(self, *, seconds: float = 0) -> None:
        self.now += timedelta(seconds=seconds)
        async with aiohttp.ClientSession() as session:
            await self.poller.ask_all(session)

    def heard(self) -> Heard | None:
        return self.memory.progress("job-1")


@asynccontextmanager
async def asking() -> AsyncIterator[World]:
    world = World()
    application = web.Application()
    application.router.add_get("/{path:.*}", world.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    world.poller = Poller(
        url=f"http://127.0.0.1:{port}/progress?of={{ip}}:{{port}}",
        seconds=0.01,
        memory=world.memory,
        enqueue=world.enqueued.append,
        now=lambda: world.now,
    )
    try:
        yield world
    finally:
        await runner.cleanup()


async def test_what_rank_0_says_is_remembered_with_its_time_and_the_job_enqueued() -> None:
    async with asking() as world:
        world.poller.pod_seen(pod())
        await world.ask(seconds=5)
        assert world.heard() == Heard(progress=READING, time=START + timedelta(seconds=5))
        assert world.enqueued == [JOB]


async def test_a_newer_trainer_may_say_more() -> None:
    async with asking() as world:
        world.answer = {**READING.to_json(), "gpuTemperature": 80}
        world.poller.pod_seen(pod())
        await world.ask()
        assert world.heard() == Heard(progress=READING, time=START)


async def test_a_pod_that_has_ended_or_gone_is_asked_no_more() -> None:
    async with asking() as world:
        world.poller.pod_seen(pod())
        world.poller.pod_seen(pod(status={"phase": "Failed"}))
        await world.ask()
        world.poller.pod_seen(pod())
        world.poller.pod_gone(pod())
        await world.ask()
        assert world.asked == 0


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, "", "500, message='Internal Server Error'"),
        (302, "", "HTTP 302"),
        (204, "", "HTTP 204"),
        (200, "not json", "not a Progress: 1 errors, first at "),
        (200, {"stage": "Train", "attempt": 1}, "not a Progress: 1 errors, first at activity"),
        (200, "x" * 20000, "more than 16384 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_passed_over_until_it_lasts(
    caplog: pytest.LogCaptureFixture, status: int, answer: object, reason: str
) -> None:
    caplog.set_level(logging.INFO, logger="finetune_operator")
    async with asking() as world:
        world.status, world.answer = status, answer
        world.poller.pod_seen(pod())
        await world.ask()
        await world.ask(seconds=59)
        assert (world.heard(), world.enqueued, caplog.messages) == (None, [], [])
        await world.ask(seconds=1)
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("ml/triage: rank 0 has not answered for 60 s: http://127.0.0.1:")
        assert reason in caplog.messages[0]


async def test_silence_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="finetune_operator")
    async with asking() as world:
        world.status = 500
        world.poller.pod_seen(pod())
        for _ in range(10):
            await world.ask(seconds=30)
        assert len(caplog.messages) == 1
        assert world.enqueued == [JOB]
        world.status = 200
        await world.ask()
        await world.ask()
        assert caplog.messages[1:] == ["ml/triage: rank 0 answers again"]


async def test_an_interruption_shorter_than_a_minute_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="finetune_operator")
    async with asking() as world:
        world.poller.pod_seen(pod())
        for status in (500, 200, 500, 200):
            world.status = status
            await world.ask(seconds=45)
        assert caplog.messages == []


async def test_many_are_asked_side_by_side_but_not_all_at_once() -> None:
    async with asking() as world:
        for number in range(3 * AT_ONCE):
            world.poller.pod_seen(pod(metadata={"uid": f"pod-{number}"}))
        await world.ask()
        assert world.asked == 3 * AT_ONCE
        assert 1 < world.most_together <= AT_ONCE


async def test_what_is_heard_after_the_pod_is_gone_is_not_remembered() -> None:
    async with asking() as world:
        world.poller.pod_seen(pod())
        question = asyncio.create_task(world.ask())
        while not world.asked:
            await asyncio.sleep(0.001)
        world.poller.pod_gone(pod())
        await question
        assert (world.heard(), world.enqueued) == (None, [])


async def test_it_asks_again_and_again_until_it_is_cancelled() -> None:
    async with asking() as world:
        world.poller.pod_seen(pod())
        running = asyncio.create_task(world.poller.run())
        async with asyncio.timeout(10):
            while world.asked < 3:
                await asyncio.sleep(0.01)
        running.cancel()
