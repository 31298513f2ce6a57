"""Two candidates, one holder; a holder that cannot renew stops before the other may start."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune_operator.apply import AlreadyExists, Body, Conflict, Manifest, Unavailable
from finetune_operator.lease import DURATION, GIVE_UP_SECONDS, RENEW_SECONDS, Lease, LeaseLost

START = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """One Lease behind an API server that can be unreachable, and a clock that its clients' waiting moves."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.up = True
        self.seconds = 0.0
        self.on_tick: Callable[[float], None] = lambda seconds: None

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_tick(self.seconds)
        await asyncio.sleep(0)

    def candidate(self, identity: str, sleep: Callable[[float], Awaitable[None]] | None = None) -> Lease:
        return Lease(
            cluster=self,
            namespace="operators",
            identity=identity,
            now=self.now,
            clock=self.clock,
            sleep=sleep or self.sleep,
        )

    async def get_lease(self, namespace: str, name: str) -> Body | None:
        self._answer()
        return copy.deepcopy(self.lease)

    async def create_lease(self, manifest: Manifest) -> Body:
        self._answer()
        if self.lease is not None:
            raise AlreadyExists("there is one")
        return self._store(manifest, version=1)

    async def replace_lease(self, manifest: Manifest) -> Body:
        self._answer()
        assert self.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._store(manifest, version=int(self.lease["metadata"]["resourceVersion"]) + 1)

    def _answer(self) -> None:
        if not self.up:
            raise Unavailable("no route to host")

    def _store(self, manifest: Manifest, *, version: int) -> Body:
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(version)
        return copy.deepcopy(self.lease)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


async def test_the_first_candidate_gets_the_lease_and_writes_who_and_when() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()
    assert lease.held
    assert server.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 30,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 1,
    }


async def test_a_second_candidate_waits_while_the_first_renews() -> None:
    server = Server()
    first, second = server.candidate("a"), server.candidate("b")
    await first.acquire()

    async def wait_while_the_first_renews(seconds: float) -> None:
        await server.sleep(seconds)
        await first._try()

    second.sleep = wait_while_the_first_renews
    waiting = asyncio.create_task(second.acquire())
    while server.seconds < 10 * DURATION:
        await asyncio.sleep(0)
    assert not waiting.done()
    assert not second.held
    waiting.cancel()
    assert server.spec["holderIdentity"] == "a"
    assert server.spec["leaseTransitions"] == 1


async def test_a_record_that_nobody_renews_is_taken_over_after_its_duration_on_our_own_clock() -> None:
    server = Server()
    await server.candidate("dead").acquire()
    # The record's own time is far in the future: a clock that is wrong must not lock everybody out.
    server.spec["renewTime"] = "2030-01-01T00:00:00.000000Z"
    lease = server.candidate("b")
    await lease.acquire()
    assert DURATION <= server.seconds <= DURATION + RENEW_SECONDS
    assert server.spec["holderIdentity"] == "b"
    assert server.spec["leaseTransitions"] == 2


async def test_the_same_pod_started_again_need_not_wait() -> None:
    server = Server()
    await server.candidate("operator-0").acquire()
    await server.candidate("operator-0").acquire()
    assert server.seconds == 0


async def test_a_released_lease_is_taken_at_once() -> None:
    server = Server()
    first, second = server.candidate("a"), server.candidate("b")
    await first.acquire()
    await first.release()
    assert not first.held
    await second.acquire()
    assert server.seconds == 0


async def test_releasing_does_not_take_it_from_another() -> None:
    server = Server()
    first = server.candidate("a")
    await first.acquire()
    server.spec["holderIdentity"] = "b"
    await first.release()
    assert server.spec["holderIdentity"] == "b"


async def test_an_unreachable_server_is_waited_for() -> None:
    server = Server()
    server.up = False

    def heal(seconds: float) -> None:
        server.up = seconds > 3600

    server.on_tick = heal
    lease = server.candidate("a")
    await lease.acquire()
    assert lease.held


async def test_losing_the_record_to_another_ends_the_holding() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()
    server.spec["holderIdentity"] = "b"
    with pytest.raises(LeaseLost, match="taken by b"):
        await lease.hold()
    assert not lease.held


async def test_without_renewal_the_holder_gives_up_before_another_may_start() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()
    server.up = False
    with pytest.raises(LeaseLost, match="not renewed for 20 s: no route to host"):
        await lease.hold()
    assert GIVE_UP_SECONDS <= server.seconds < DURATION


async def test_the_time_that_a_late_answer_took_counts_too() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()
    replace = server.replace_lease

    async def late(manifest: Manifest) -> Body:
        nonlocal written_at
        answer = await replace(manifest)
        written_at = server.seconds
        server.seconds += 14
        server.up = False
        return answer

    written_at = 0.0
    server.replace_lease = late  # type: ignore[method-assign]
    with pytest.raises(LeaseLost, match="not renewed"):
        await lease.hold()
    assert server.seconds - written_at < DURATION


async def test_a_short_outage_and_a_conflicting_edit_are_survived() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()

    def disturb(seconds: float) -> None:
        server.up = not 20 < seconds < 35
        if seconds == 50:
            server.spec["acquireTime"] = "edited"
        if seconds > 200:
            server.spec["holderIdentity"] = "b"

    server.on_tick = disturb
    with pytest.raises(LeaseLost, match="taken by b"):
        await lease.hold()
    assert server.seconds > 200


async def test_a_process_that_was_stopped_for_long_goes_on_only_if_nobody_took_over() -> None:
    server = Server()
    lease = server.candidate("a")
    await lease.acquire()
    transitions: list[int] = []

    async def sleep_like_a_stopped_process(seconds: float) -> None:
        transitions.append(server.spec["leaseTransitions"])
        if len(transitions) == 3:
            await server.candidate("b").acquire()
        await server.sleep(3600)

    lease.sleep = sleep_like_a_stopped_process
    with pytest.raises(LeaseLost, match="taken by b"):
        await lease.hold()
    assert transitions == [1, 1, 1]


async def test_a_lease_without_a_spec_is_free() -> None:
    server = Server()
    server.lease = {"metadata": {"name": "finetune-operator", "namespace": "operators", "resourceVersion": "7"}}
    lease = server.candidate("a")
    await lease.acquire()
    assert server.spec["holderIdentity"] == "a"
