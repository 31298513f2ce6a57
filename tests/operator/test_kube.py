"""What goes over the wire for each verb, and which exception each refusal becomes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetune_operator.apply import (
    Conflict,
    Event,
    Kind,
    Ref,
    Unavailable,
)
from finetune_operator.apply.kube import Connection, KubeCluster

NOW = datetime(2026, 1, 1, 12, 30, 0, 250000, tzinfo=UTC)
REF = Ref(Kind.JOB, "ml", "triage-train-1")
_TOKEN = "secret"
FINE_TUNE_JOB = Ref(Kind.FINE_TUNE_JOB, "ml", "triage")


@dataclass
class Request:
    line: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Answer:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, reason: str, message: str, **headers: str) -> Answer:
    return Answer(
        {"kind": "Status", "reason": reason, "message": message},
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


class Server:
    """Answers from a list, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text() or "null")
        self.requests.append(Request(f"{request.method} {request.path}", dict(request.query), request.headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]


def kubeconfig(folder: Path, port: int, token: str = _TOKEN) -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def serving(server: Server, folder: Path) -> AsyncIterator[KubeCluster]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    cluster = await connect(folder, port)
    try:
        yield cluster
    finally:
        await cluster.close()
        await runner.cleanup()


async def connect(folder: Path, port: int) -> KubeCluster:
    environ = {"KUBECONFIG": str(kubeconfig(folder, port))}
    return await KubeCluster.connect(environ, now=lambda: NOW, identity="operator-0")


async def test_an_object_is_read_from_the_server_with_our_token(tmp_path: Path) -> None:
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "triage-train-1"}}
    server = Server(Answer(body))
    async with serving(server, tmp_path) as cluster:
        assert await cluster.get(REF) == body
    assert server.lines == ["GET /apis/batch/v1/namespaces/ml/jobs/triage-train-1"]
    assert server.requests[0].headers["authorization"] == "Bearer secret"
    # A cached answer would be `resourceVersion=0`.
    assert server.requests[0].query == {}


async def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    async with serving(Server(refusal(404, "NotFound", "not found")), tmp_path) as cluster:
        assert await cluster.get(REF) is None


async def test_a_list_is_selected_by_the_server_and_read_to_its_last_page(tmp_path: Path) -> None:
    server = Server(
        Answer({"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        Answer({"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    )
    async with serving(server, tmp_path) as cluster:
        listed = await cluster.list(Kind.POD, "ml", {"b": "2", "a": "1"})
    assert listed == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
    ]
    assert [request.query for request in server.requests] == [
        {"labelSelector": "a=1,b=2", "limit": "500"},
        {"labelSelector": "a=1,b=2", "limit": "500", "continue": "next"},
    ]


async def test_without_a_namespace_all_are_listed(tmp_path: Path) -> None:
    server = Server(Answer({"metadata": {}, "items": []}))
    async with serving(server, tmp_path) as cluster:
        assert await cluster.list(Kind.FINE_TUNE_JOB, None, {}) == []
    assert server.lines == ["GET /apis/finetune.dev/v1alpha1/finetunejobs"]
    assert server.requests[0].query == {"limit": "500"}


async def test_for_the_watch_check_only_metadata_is_sent(tmp_path: Path) -> None:
    server = Server(Answer({"metadata": {}, "items": [{"metadata": {"uid": "1"}}]}))
    async with serving(server, tmp_path) as cluster:
        assert await cluster.list_metadata(Kind.JOB, "ml", {}) == [{"metadata": {"uid": "1"}}]
    assert server.requests[0].headers["Accept"].startswith("application/json;as=PartialObjectMetadataList;")


async def test_an_object_is_created_under_our_name_and_unknown_fields_are_refused(tmp_path: Path) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ml"}, "data": {}}
    server = Server(Answer({**manifest, "metadata": {"uid": "1"}}, status=201))
    async with serving(server, tmp_path) as cluster:
        created = await cluster.create(manifest)
    assert created["metadata"] == {"uid": "1"}
    assert server.lines == ["POST /api/v1/namespaces/ml/configmaps"]
    assert server.requests[0].query == {"fieldManager": "finetune-operator", "fieldValidation": "Strict"}
    assert server.requests[0].body == manifest


async def test_only_the_object_with_this_uid_is_deleted_and_its_dependents_first(tmp_path: Path) -> None:
    server = Server(Answer({}))
    async with serving(server, tmp_path) as cluster:
        await cluster.delete(REF, uid="1-2-3")
        await cluster.delete(REF, uid="1-2-3", grace_seconds=0)
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "1-2-3"},
    }
    assert [request.body for request in server.requests] == [options, {**options, "gracePeriodSeconds": 0}]
    assert server.lines == ["DELETE /apis/batch/v1/namespaces/ml/jobs/triage-train-1"] * 2


async def test_deleting_what_is_gone_is_no_error(tmp_path: Path) -> None:
    server = Server(refusal(404, "NotFound", "not found"))
    async with serving(server, tmp_path) as cluster:
        await cluster.delete(REF, uid="1")
    assert len(server.requests) == 1


async def test_a_status_is_replaced_only_in_the_version_that_was_read(tmp_path: Path) -> None:
    server = Server(Answer({"metadata": {"resourceVersion": "8"}}))
    async with serving(server, tmp_path) as cluster:
        written = await cluster.write_status(FINE_TUNE_JOB, {"phase": "Pending"}, resource_version="7")
    assert written == {"metadata": {"resourceVersion": "8"}}
    assert server.lines == ["PATCH /apis/finetune.dev/v1alpha1/namespaces/ml/finetunejobs/triage/status"]
    assert server.requests[0].headers["Content-Type"] == "application/json-patch+json"
    assert server.requests[0].body == [
        {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/status", "value": {"phase": "Pending"}},
    ]


async def test_the_status_of_what_is_gone_is_a_conflict(tmp_path: Path) -> None:
    async with serving(Server(refusal(404, "NotFound", "not found")), tmp_path) as cluster:
        with pytest.raises(Conflict, match="ml/triage is gone"):
            await cluster.write_status(FINE_TUNE_JOB, {}, resource_version="7")


ABOUT = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "triage", "namespace": "ml", "uid": "1", "resourceVersion": "7"},
}


async def test_an_event_says_about_what_by_whom_and_when(tmp_path: Path) -> None:
    server = Server(Answer({}, status=201))
    async with serving(server, tmp_path) as cluster:
        await cluster.post_event(ABOUT, Event(type="Warning", reason="Failed", message="ü" * 1000))
    assert server.lines == ["POST /apis/events.k8s.io/v1/namespaces/ml/events"]
    assert server.requests[0].body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "triage-", "namespace": "ml"},
        "eventTime": "2026-01-01T12:30:00.250000Z",
        "regarding": {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "name": "triage",
            "namespace": "ml",
            "uid": "1",
            "resourceVersion": "7",
        },
        "type": "Warning",
        "reason": "Failed",
        "action": "Failed",
        "note": "ü" * 510 + "…",
        "reportingController": "finetune.dev/operator",
        "reportingInstance": "operator-0",
    }


async def test_an_event_that_is_refused_is_logged_and_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Server(refusal(403, "Forbidden", "namespace is going away")), tmp_path) as cluster:
        await cluster.post_event(ABOUT, Event(type="Normal", reason="Prepared", message="Ready."))
    assert "namespace is going away" in caplog.text


async def test_an_expired_token_is_read_anew_once(tmp_path: Path) -> None:
    server = Server(refusal(401, "Unauthorized", "Unauthorized"), Answer({"kind": "Job"}))
    async with serving(server, tmp_path) as cluster:
        port = int((await cluster.connection()).server.rsplit(":", 1)[1])
        kubeconfig(tmp_path, port, token="fresh")
        assert await cluster.get(REF) == {"kind": "Job"}
        assert (await cluster.connection()).authorization == "Bearer fresh"
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer secret", "Bearer fresh"]


async def test_whoever_asks_for_the_credentials_gets_fresh_ones(tmp_path: Path) -> None:
    cluster = await connect(tmp_path, 1)
    assert (await cluster.connection()).authorization == "Bearer secret"
    kubeconfig(tmp_path, 1, token="fresh")
    assert await cluster.connection() == Connection(
        server="http://127.0.0.1:1",
        ca_file=None,
        verify=True,
        authorization="Bearer fresh",
        certificate_file=None,
        key_file=None,
    )
    await cluster.close()


async def test_a_token_that_stays_refused_is_an_outage_and_not_the_users_fault(tmp_path: Path) -> None:
    server = Server(refusal(401, "Unauthorized", "Unauthorized"))
    async with serving(server, tmp_path) as cluster:
        with pytest.raises(Unavailable, match="Unauthorized"):
            await cluster.get(REF)
    assert len(server.requests) == 2


async def test_nothing_is_retried_behind_our_back(tmp_path: Path) -> None:
    server = Server(refusal(503, "ServiceUnavailable", "starting"))
    async with serving(server, tmp_path) as cluster:
        with pytest.raises(Unavailable, match="starting"):
            await cluster.get(REF)
    assert len(server.requests) == 1


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = await connect(tmp_path, port)
    with pytest.raises(Unavailable, match=r"^GET /apis/batch/v1/namespaces/ml/jobs/triage-train-1: "):
        await cluster.get(REF)
    await cluster.close()


@asynccontextmanager
async def tcp(behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["hung up", "cut off", "not JSON", "not HTTP"],
)
async def test_an_answer_that_is_none_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with tcp(behave) as port:
        cluster = await connect(tmp_path, port)
        with pytest.raises(Unavailable):
            await cluster.get(REF)
        await cluster.close()


async def test_the_wait_of_a_429_reaches_the_caller(tmp_path: Path) -> None:
    server = Server(refusal(429, "TooManyRequests", "please wait", Retry_After="3"))
    async with serving(server, tmp_path) as cluster:
        with pytest.raises(Unavailable) as refused:
            await cluster.get(REF)
    assert refused.value.retry_after == 3


@pytest.mark.parametrize("content", [None, "", "not: [yaml", "apiVersion: v1\nkind: Config\n"])
async def test_a_kubeconfig_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match="no access to a cluster"):
        await KubeCluster.connect({"KUBECONFIG": str(path)}, now=lambda: NOW, identity="x")
