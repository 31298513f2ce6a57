from __future__ import annotations

from datetime import UTC, datetime, timedelta

from finetune_operator.apply import Kind, Ref
from finetune_operator.apply.local.objects import FOREGROUND, Objects

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rank-0", "namespace": "ml"}, "spec": {}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gang", "namespace": "ml"}, "spec": {}}


def test_a_pod_is_deleted_at_the_end_of_the_shortest_grace_it_was_given() -> None:
    now = NOW
    objects = Objects(lambda: now)
    objects.create(POD)
    ref = Ref(Kind.POD, "ml", "rank-0")
    said = []
    for grace_seconds in (120, 300, 10):
        body = objects.get(ref)
        assert body is not None
        objects.mark_deleted(body, grace_seconds=grace_seconds)
        deleted = objects.get(ref)
        assert deleted is not None
        said.append((deleted["metadata"]["deletionTimestamp"], deleted["metadata"]["deletionGracePeriodSeconds"]))
        now += timedelta(seconds=60)
    assert said == [("2026-11-23T09:02:00Z", 120), ("2026-11-23T09:02:00Z", 120), ("2026-11-23T09:02:10Z", 10)]


def test_anything_else_is_deleted_at_once_and_waits_for_what_it_owns() -> None:
    objects = Objects(lambda: NOW)
    objects.mark_deleted(objects.create(SERVICE), grace_seconds=30)
    body = objects.get(Ref(Kind.SERVICE, "ml", "gang"))
    assert body is not None
    assert body["metadata"]["deletionTimestamp"] == "2026-11-23T09:00:00Z"
    assert body["metadata"]["finalizers"] == [FOREGROUND]
