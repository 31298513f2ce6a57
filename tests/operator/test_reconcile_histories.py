"""Random histories of one job: whatever happens to it, some things never do, and it comes to an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from fake_cluster import Killed
from fake_world import FakeWorld
from finetune_api.contract import Stage
from finetune_api.result import Failure, Result
from finetune_api.status import Phase, Status
from finetune_operator.apply import Body, Kind
from finetune_operator.decide.conditions import is_finished
from results import PREPARED, PUBLISHED

ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


def done(stage: Stage, attempt: int) -> Result:
    if stage is Stage.PREPARE:
        return Result(stage=stage, attempt=attempt, prepared=PREPARED)
    return Result(stage=stage, attempt=attempt, published=PUBLISHED, checkpoint_step=300)


class History:
    """A world, and what has been true of it so far."""

    def __init__(self) -> None:
        self.world = FakeWorld(workers={"nodes": 2}, restart={"maxRestarts": 3}, deadlines={"startSeconds": 5000})
        self.ended: Status | None = None
        self.world.cluster.observers.append(self._meets_no_predecessor)

    def _meets_no_predecessor(self, change: str, body: Body) -> None:
        if (change, body["kind"]) == ("ADDED", "Job"):
            assert self.running() == [], f"{body['metadata']['name']} is created while they run"

    def running(self) -> list[str]:
        """Names of pods whose container runs, of whichever attempt."""
        pods = self.world.cluster.of(Kind.POD)
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]

    async def look(self, number: int) -> None:
        try:
            await self.world.look()
        except Killed:
            self.world.restart_operator()
        finally:
            self.world.cluster.kill_at = None

    async def settle(self, number: int) -> None:
        self.world.nodes.settle()

    async def rest(self, number: int) -> None:
        await self.world.rest()

    async def kill_operator(self, number: int) -> None:
        # Its next look dies at one of its first writes.
        self.world.cluster.kill_after(number % 4, "before" if number % 2 else "after")
        await self.look(number)

    async def crash(self, number: int) -> None:
        if pods := self.running():
            code, reason = [(1, None), (137, "OOMKilled"), (75, None), (143, None), (66, None)][number % 5]
            self.world.nodes.end(pods[number % len(pods)], code, reason=reason, settle=False)

    async def finish(self, number: int) -> None:
        if attempt := self.world.status.open_attempt:
            self.world.nodes.end_all(attempt.job_name, 0, done(attempt.stage, attempt.number))

    async def finish_one(self, number: int) -> None:
        if (attempt := self.world.status.open_attempt) and (pods := self.running()):
            self.world.nodes.end(pods[0], 0, done(attempt.stage, attempt.number), settle=False)

    async def give_up(self, number: int) -> None:
        if (attempt := self.world.status.open_attempt) and (pods := self.running()):
            failure = Failure(reason="Diverged", message="NaN", field="spec.training.learningRate")
            words = Result(stage=attempt.stage, attempt=attempt.number, failure=failure)
            self.world.nodes.end(pods[0], 69, words, settle=False)

    async def disrupt(self, number: int) -> None:
        if pods := self.running():
            self.world.nodes.disrupt(pods[number % len(pods)])

    async def silence(self, number: int) -> None:
        if pods := self.running():
            self.world.nodes.slow_to_stop.add(pods[number % len(pods)])

    async def delete_child(self, number: int) -> None:
        children = [ref for ref in self.world.cluster.objects if ref.kind is not Kind.FINE_TUNE_JOB]
        if children:
            ref = children[number % len(children)]
            self.world.cluster.doom(ref)

    async def delete_job(self, number: int) -> None:
        # In the background, as kubectl does it: the Job goes before its pods.
        jobs = [ref for ref in self.world.cluster.objects if ref.kind is Kind.JOB]
        if jobs:
            self.world.cluster.remove(jobs[-1])

    async def suspend(self, number: int) -> None:
        self.world.edit(suspend=number % 2 == 0)

    async def queue(self, number: int) -> None:
        if jobs := self.world.names(Kind.JOB):
            self.world.nodes.suspend(jobs[number % len(jobs)], number % 2 == 0)

    async def pass_time(self, number: int) -> None:
        self.world.pass_time([1, 29, 151, 4000][number % 4])

    async def cancel(self, number: int) -> None:
        if number % 7 == 0:
            self.world.edit(cancel=True)

    def check(self) -> None:
        world, status = self.world, self.world.status
        live = {
            (pod["metadata"]["labels"]["finetune.dev/stage"], pod["metadata"]["labels"]["finetune.dev/attempt"])
            for pod in world.cluster.of(Kind.POD)
            if pod["status"]["phase"] in ("Pending", "Running")
        }
        assert len(live) <= 1, f"two gangs at once: {live}"
        assert sum(attempt.finish_time is None for attempt in status.attempts) <= 1
        numbers = [(attempt.stage is Stage.TRAIN, attempt.number) for attempt in status.attempts]
        assert numbers == sorted(set(numbers))
        assert status.start_time is not None or not world.names(Kind.JOB)
        assert len(json.dumps(status.to_json())) < 16 * 1024
        assert (status.phase in ENDS) == is_finished(status)
        if self.ended is not None:
            assert (status.phase, status.finish_time) == (self.ended.phase, self.ended.finish_time)
        if is_finished(status):
            self.ended = status
            assert status.open_attempt is None

    async def heal(self) -> None:
        """Nothing disturbs the job any more."""
        world = self.world
        world.nodes.slow_to_stop.clear()
        world.edit(suspend=False)
        for _ in range(30):
            for job in world.cluster.of(Kind.JOB):
                job["spec"]["suspend"] = False
            world.pass_time(400)
            await world.rest()
            self.check()
            await self.finish(0)
            if is_finished(world.status):
                break
        await world.rest()
        assert is_finished(world.status)
        assert self.running() == []
        if world.status.phase is Phase.SUCCEEDED:
            assert world.status.artifacts is not None
        if world.status.phase is Phase.FAILED:
            assert world.status.failure is not None


ACTIONS: list[Callable[[History, int], Awaitable[None]]] = [
    History.look,
    History.settle,
    History.rest,
    History.kill_operator,
    History.crash,
    History.finish,
    History.finish_one,
    History.give_up,
    History.disrupt,
    History.silence,
    History.delete_child,
    History.delete_job,
    History.suspend,
    History.queue,
    History.pass_time,
    History.cancel,
]


@settings(max_examples=100, deadline=None, derandomize=True, print_blob=False)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1000)), min_size=5, max_size=40))
def test_every_history_keeps_the_invariants_and_comes_to_an_end(
    steps: list[tuple[Callable[[History, int], Awaitable[None]], int]],
) -> None:
    async def live() -> None:
        history = History()
        await history.world.rest()
        for action, number in steps:
            await action(history, number)
            history.check()
        await history.heal()

    asyncio.run(live())
