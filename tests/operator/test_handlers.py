"""Kopf only watches: how it is set up, and that every event becomes one key and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf
import pytest

from finetune_operator.apply import CHILDREN, Body, Kind, Ref, Unavailable
from finetune_operator.apply.kube import Connection
from finetune_operator.handlers import connection_info, kopf_settings, registry, resync
from finetune_operator.listing import WATCHED
from finetune_operator.shown import Entry, Shown, Writer
from jobs import UID, make_body


def test_kopf_writes_nothing_and_follows_nobody() -> None:
    tuned = kopf_settings()
    assert tuned.peering.standalone
    assert not tuned.posting.enabled


def test_only_children_of_ours_are_streamed() -> None:
    selectors = kopf_settings().watching.label_selectors
    assert {(each.group, each.version, each.any_name): selector for each, selector in selectors.items()} == {
        ("batch", "v1", "jobs"): "finetune.dev/managed=true",
        ("", "v1", "pods"): "finetune.dev/managed=true",
        ("", "v1", "services"): "finetune.dev/managed=true",
        ("", "v1", "configmaps"): "finetune.dev/managed=true",
        ("networking.k8s.io", "v1", "networkpolicies"): "finetune.dev/managed=true",
    }


def test_nobody_elses_crds_are_streamed() -> None:
    assert kopf_settings().scanning.disabled


def test_no_request_waits_for_minutes() -> None:
    tuned = kopf_settings()
    assert (tuned.networking.connect_timeout, tuned.networking.request_timeout) == (5, 30)
    assert tuned.networking.enforce_retry_after
    assert (tuned.watching.server_timeout, tuned.watching.client_timeout) == (300, 310)
    assert tuned.watching.inactivity_timeout == 70
    assert tuned.queueing.worker_limit is None


CONNECTION = Connection(
    server="https://10.96.0.1",
    ca_file="/ca.crt",
    verify=True,
    authorization="Bearer abc",
    certificate_file=None,
    key_file=None,
)


def test_kopf_logs_in_as_our_own_client_does() -> None:
    assert connection_info(CONNECTION) == kopf.ConnectionInfo(
        server="https://10.96.0.1", ca_path="/ca.crt", insecure=False, scheme="Bearer", token="abc"
    )


class World:
    """Everything that is told of events."""

    def __init__(self) -> None:
        self.enqueued: list[Ref] = []
        self.seen: list[Body] = []
        self.gone: list[Body] = []
        self.forgotten: list[str] = []
        self.counted: list[Kind] = []
        self.registry = registry(
            shown=Shown(),
            enqueue=self.enqueued.append,
            listeners=(self,),
            forget=self.forgotten.append,
            count=self.counted.append,
            connection=self.connection,
        )

    def pod_seen(self, pod: Body) -> None:
        self.seen.append(pod)

    def pod_gone(self, pod: Body) -> None:
        self.gone.append(pod)

    async def connection(self) -> Connection:
        return CONNECTION

    async def event(self, kind: Kind, body: Mapping[str, Any], change: str | None = "MODIFIED") -> None:
        for handler in self.registry._watching.get_all_handlers():
            if handler.selector is not None and handler.selector.any_name == kind.plural:
                await handler.fn(event={"type": change, "object": body})


def child(kind: Kind, **labels: str) -> dict[str, Any]:
    return {"kind": kind.kind, "metadata": {"name": "x", "namespace": "ml", "uid": "9", "labels": labels}}


OURS = {"finetune.dev/job": "triage"}
KEY = Ref(Kind.FINE_TUNE_JOB, "ml", "triage")


@pytest.mark.parametrize("change", [None, "ADDED", "MODIFIED", "DELETED"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.FINE_TUNE_JOB, make_body("triage")),
        *((kind, child(kind, **OURS)) for kind in CHILDREN),
    ],
)
async def test_every_event_becomes_the_key_of_its_job(kind: Kind, body: dict[str, Any], change: str | None) -> None:
    world = World()
    await world.event(kind, body, change)
    assert world.enqueued == [KEY]
    assert world.counted == [kind]


async def test_pods_are_shown_to_whoever_listens() -> None:
    world = World()
    pod = child(Kind.POD, **OURS)
    await world.event(Kind.POD, pod, "ADDED")
    await world.event(Kind.POD, pod, "DELETED")
    assert (world.seen, world.gone) == ([pod], [pod])


async def test_a_deleted_job_is_forgotten_and_enqueued_once_more() -> None:
    world = World()
    body = make_body("triage")
    await world.event(Kind.FINE_TUNE_JOB, body, "DELETED")
    assert world.forgotten == [body["metadata"]["uid"]]


async def test_a_pod_that_names_no_job_is_nobodys() -> None:
    world = World()
    await world.event(Kind.POD, child(Kind.POD))
    assert world.enqueued == []


def test_there_is_no_handler_that_would_make_kopf_write() -> None:
    handlers = World().registry
    writing = (handlers._changing, handlers._spawning, handlers._webhooks)
    assert [list(each.get_all_handlers()) for each in writing] == [[], [], []]
    assert len(list(handlers._watching.get_all_handlers())) == len(WATCHED)
    assert len(list(handlers._indexing.get_all_handlers())) == len(WATCHED) + 1


async def indexed(name: str, body: Mapping[str, Any]) -> Any:
    """What the index of this name keeps of a FineTuneJob."""
    handlers = {each.id: each for each in World().registry._indexing.get_all_handlers()}
    return await handlers[name].fn(body=kopf.Body(body))


async def test_of_a_job_its_version_phase_and_end_are_kept() -> None:
    running = make_body("triage", status={"phase": "Training"})
    ended = make_body("triage", status={"phase": "Failed", "finishTime": "2026-11-23T10:00:00Z"})
    assert await indexed("finetunejobs", running) == {UID: Entry("1", "Training", finished=False)}
    assert await indexed("finetunejobs", ended) == {UID: Entry("1", "Failed", finished=True)}


@pytest.mark.parametrize(
    ("body", "writes"),
    [
        (make_body("triage"), True),
        (make_body("triage", suspend=True, status={"phase": "Suspended"}), True),
        (make_body("triage", status={"finishTime": "2026-11-23T10:00:00Z"}), False),
        (make_body("triage", metadata={"deletionTimestamp": "2026-11-23T10:00:00Z"}), False),
    ],
)
async def test_whoever_has_not_ended_may_write_to_its_output(body: Mapping[str, Any], writes: bool) -> None:
    assert await indexed("outputs", body) == ({"s3://models/triage": Writer(UID, KEY)} if writes else {})


async def test_all_jobs_are_looked_at_again_spread_over_time_and_despite_an_outage() -> None:
    answers: list[Any] = [[KEY], Unavailable("no route"), [KEY]]
    delayed: list[tuple[Ref, float]] = []
    slept: list[float] = []

    async def refs() -> list[Ref]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if not answers:
            await asyncio.Event().wait()

    running = asyncio.create_task(
        resync(refs, lambda ref, delay: delayed.append((ref, delay)), seconds=600, sleep=sleep, jitter=max)
    )
    async with asyncio.timeout(10):
        while len(slept) < 4:
            await asyncio.sleep(0)
    running.cancel()
    assert delayed == [(KEY, 60), (KEY, 60)]
    assert slept == [600] * 4
