"""Objects as an API server keeps them: uids, resource versions, generations, watches, deletion in the foreground."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_operator.apply import AlreadyExists, Body, Conflict, Kind, Manifest, Ref

Change = Callable[[str, Body], None]
"""Called with ADDED, MODIFIED or DELETED and the object as it is after that."""

FOREGROUND = "foregroundDeletion"
_WITH_STATUS = {Kind.FINE_TUNE_JOB, Kind.JOB, Kind.POD}
_KINDS = {(kind.api_version, kind.kind): kind for kind in Kind}


def kind_of(body: Body) -> Kind:
    """Raises KeyError for a kind that we never touch."""
    return _KINDS[body["apiVersion"], body["kind"]]


def ref_of(body: Body) -> Ref:
    return Ref(kind_of(body), body["metadata"]["namespace"], body["metadata"]["name"])


def owner_uids(body: Body) -> set[str]:
    return {owner["uid"] for owner in body["metadata"].get("ownerReferences", ())}


def timestamp(now: datetime) -> str:
    """As in an object's metadata: whole seconds, UTC."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Objects:
    """What goes in and comes out is the caller's own copy. Observers must not change objects; they may enqueue."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._objects: dict[Ref, Manifest] = {}
        self._version = 0
        self._observers: list[Change] = []

    def watch(self, observer: Change) -> None:
        self._observers.append(observer)

    def get(self, ref: Ref) -> Manifest | None:
        return copy.deepcopy(self._objects.get(ref))

    def select(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        """Objects with all these labels, by namespace and name."""
        wanted = (labels or {}).items()
        return [
            copy.deepcopy(body)
            for ref, body in sorted(self._objects.items(), key=lambda item: (item[0].namespace, item[0].name))
            if ref.kind is kind
            and namespace in (None, ref.namespace)
            and wanted <= body["metadata"].get("labels", {}).items()
        ]

    def dependents(self, uid: str) -> list[Manifest]:
        """Objects that name this uid as an owner."""
        return [copy.deepcopy(body) for body in self._objects.values() if uid in owner_uids(body)]

    def uids(self) -> set[str]:
        return {body["metadata"]["uid"] for body in self._objects.values()}

    def create(self, manifest: Manifest, *, uid: str | None = None) -> Manifest:
        """Store it with fresh metadata and an empty status. Raises AlreadyExists."""
        body = copy.deepcopy(manifest)
        body["metadata"].setdefault("namespace", "default")
        ref = ref_of(body)
        if ref in self._objects:
            raise AlreadyExists(f'{ref.kind.plural} "{ref.name}" already exists')
        body["metadata"] |= {
            "uid": uid or str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": timestamp(self._clock()),
        }
        if ref.kind in _WITH_STATUS:
            body["status"] = {}
        return self._store("ADDED", body)

    def replace(self, body: Manifest) -> Manifest:
        """Store a later state of an object. Raises Conflict when its resourceVersion or uid is not the latest."""
        ref = ref_of(body)
        current = self._objects.get(ref)
        if current is None or current["metadata"]["uid"] != body["metadata"]["uid"]:
            raise Conflict(f'{ref.kind.plural} "{ref.name}" is gone')
        if current["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict(f'{ref.kind.plural} "{ref.name}" has been modified')
        if body == current:
            return copy.deepcopy(current)
        body = copy.deepcopy(body)
        if body.get("spec") != current.get("spec"):
            body["metadata"]["generation"] += 1
        return self._store("MODIFIED", body)

    def write_status(self, ref: Ref, status: Mapping[str, Any], *, resource_version: str | None = None) -> Manifest:
        """Replace `.status` alone. Raises Conflict; without a resource version only when the object is gone."""
        body = self.get(ref)
        if body is None:
            raise Conflict(f'{ref.kind.plural} "{ref.name}" is gone')
        if resource_version is not None:
            body["metadata"]["resourceVersion"] = resource_version
        body["status"] = dict(status)
        return self.replace(body)

    def mark_deleted(self, body: Manifest, *, grace_seconds: int) -> None:
        """Set the deletion timestamp, of a pod to the end of its grace; of two graces the shorter counts."""
        metadata = body["metadata"]
        if kind_of(body) is Kind.POD:
            grace_seconds = min(grace_seconds, metadata.get("deletionGracePeriodSeconds", grace_seconds))
            if grace_seconds != metadata.get("deletionGracePeriodSeconds"):
                metadata["deletionGracePeriodSeconds"] = grace_seconds
                metadata["deletionTimestamp"] = timestamp(self._clock() + timedelta(seconds=grace_seconds))
        elif "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = timestamp(self._clock())
            metadata["finalizers"] = [*metadata.get("finalizers", ()), FOREGROUND]
        self.replace(body)

    def remove(self, ref: Ref) -> None:
        """Take it out of the store; an observer sees it for the last time."""
        self._tell("DELETED", self._objects.pop(ref))

    def _store(self, change: str, body: Manifest) -> Manifest:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[ref_of(body)] = body
        self._tell(change, body)
        return copy.deepcopy(body)

    def _tell(self, change: str, body: Manifest) -> None:
        for observer in self._observers:
            observer(change, copy.deepcopy(body))
