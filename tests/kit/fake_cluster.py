"""A cluster in memory: names, uids, versions, owners and deletion as the API server and its collector have them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from finetune_operator.apply import AlreadyExists, Body, ClusterError, Conflict, Event, Kind, Manifest, Ref

Observer = Callable[[str, Body], None]
FOREGROUND = "foregroundDeletion"


class Killed(BaseException):
    """The operator's process ends here."""


class FakeCluster:
    """Implements apply.Cluster. `now` is moved by the test."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.objects: dict[Ref, dict[str, Any]] = {}
        self.events: list[Event] = []
        self.writes: list[str] = []
        """Every write that reached the server, such as `create Job triage-5f0c1-train-1`."""
        self.kill_at: tuple[int, str] | None = None
        """(n, "before" | "after"): the n-th call that writes, counted from 0, raises Killed then."""
        self.refuse: Callable[[str], ClusterError | None] = lambda write: None
        """What the server answers to a write instead of carrying it out."""
        self.observers: list[Observer] = []
        self._calls = 0
        self._uids = (f"{number:08x}-0000-4000-8000-000000000000" for number in itertools.count(1))
        self.version = 0
        """Grows with every change of any object."""

    async def get(self, ref: Ref) -> Body | None:
        body = self.objects.get(ref)
        return None if body is None else _copied(body)

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        return [
            _copied(body)
            for ref, body in self.objects.items()
            if ref.kind is kind
            and namespace in (None, ref.namespace)
            and labels.items() <= body["metadata"].get("labels", {}).items()
        ]

    async def create(self, manifest: Manifest) -> Body:
        with_kill = self._write(f"create {manifest['kind']} {manifest['metadata']['name']}")
        body = self.add(manifest)
        with_kill()
        return _copied(body)

    async def delete(self, ref: Ref, *, uid: str, grace_seconds: int | None = None) -> None:
        forced = "" if grace_seconds is None else f" grace {grace_seconds}"
        with_kill = self._write(f"delete {ref.kind.kind} {ref.name}{forced}")
        body = self.objects.get(ref)
        if body is not None and body["metadata"]["uid"] != uid:
            raise Conflict(f"the uid in the precondition is {uid}, that of the object {body['metadata']['uid']}")
        self.doom(ref, grace_seconds=grace_seconds)
        with_kill()

    async def write_status(self, ref: Ref, status: Body, *, resource_version: str) -> Body:
        with_kill = self._write(f"status {ref.name}")
        body = self.objects.get(ref)
        if body is None or body["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(f"{ref.name} has been modified")
        body["status"] = _copied(status)
        self.changed(ref)
        with_kill()
        return _copied(body)

    async def post_event(self, about: Body, event: Event) -> None:
        self.events.append(event)

    def kill_after(self, writes: int, moment: str) -> None:
        """The operator is killed around the write that follows so many others from now."""
        self.kill_at = (self._calls + writes, moment)

    # What others than the operator do.

    def add(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        body = _copied(manifest)
        metadata = body["metadata"]
        ref = ref_of(body)
        if ref in self.objects:
            raise AlreadyExists(f'{ref.kind.plural} "{ref.name}" already exists')
        metadata.setdefault("uid", next(self._uids))
        metadata["creationTimestamp"] = stamp(self.now)
        metadata.setdefault("generation", 1)
        self.objects[ref] = body
        self.changed(ref, "ADDED")
        return body

    def doom(self, ref: Ref, *, grace_seconds: int | None = None) -> None:
        """Delete in the foreground: dependents first. A pod goes only when its kubelet has stopped it."""
        body = self.objects.get(ref)
        if body is None:
            return
        metadata = body["metadata"]
        if ref.kind is Kind.POD and grace_seconds != 0:
            grace = body["spec"].get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
            metadata.setdefault("deletionTimestamp", stamp(self.now + timedelta(seconds=grace)))
        elif ref.kind is not Kind.POD and self._dependents(metadata["uid"]):
            metadata.setdefault("deletionTimestamp", stamp(self.now))
            metadata.setdefault("finalizers", []).append(FOREGROUND)
        else:
            self.remove(ref)
            return
        self.changed(ref)
        for dependent in self._dependents(metadata["uid"]):
            self.doom(dependent)

    def remove(self, ref: Ref) -> None:
        """The object is no more; what depended on it goes, and what waited for it."""
        body = self.objects.pop(ref)
        self.version += 1
        self._tell("DELETED", body)
        for dependent in self._dependents(body["metadata"]["uid"]):
            self.doom(dependent)
        for owner in list(self.objects):
            metadata = self.objects[owner]["metadata"] if owner in self.objects else {}
            if FOREGROUND in metadata.get("finalizers", []) and not self._dependents(metadata["uid"]):
                self.remove(owner)

    def changed(self, ref: Ref, change: str = "MODIFIED") -> None:
        body = self.objects[ref]
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._tell(change, body)

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """By name."""
        return [body for ref, body in sorted(self.objects.items(), key=lambda item: item[0].name) if ref.kind is kind]

    def names(self, kind: Kind) -> list[str]:
        return [body["metadata"]["name"] for body in self.of(kind)]

    def _dependents(self, uid: str) -> list[Ref]:
        return [
            ref
            for ref, body in self.objects.items()
            if any(owner["uid"] == uid for owner in body["metadata"].get("ownerReferences", []))
        ]

    def _tell(self, change: str, body: dict[str, Any]) -> None:
        for observer in self.observers:
            observer(change, _copied(body))

    def _write(self, what: str) -> Callable[[], None]:
        """Kills before the write, or returns what kills after it."""
        call, self._calls = self._calls, self._calls + 1
        if self.kill_at == (call, "before"):
            raise Killed
        if refusal := self.refuse(what):
            raise refusal

        def after() -> None:
            self.writes.append(what)
            if self.kill_at == (call, "after"):
                raise Killed

        return after


def ref_of(body: Mapping[str, Any]) -> Ref:
    kind = next(kind for kind in Kind if kind.kind == body["kind"])
    return Ref(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _copied(body: Mapping[str, Any]) -> dict[str, Any]:
    """Through JSON, as over the wire."""
    copied: dict[str, Any] = json.loads(json.dumps(body))
    return copied
