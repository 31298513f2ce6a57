"""All that is watched is listed as it is watched, in every namespace that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from finetune_operator.apply import Body, Kind, Ref, Rejected
from finetune_operator.listing import Listing

OURS = {"finetune.dev/managed": "true"}


class Cluster:
    """Holds FineTuneJobs by namespace, and refuses what it is told to refuse."""

    def __init__(self, **jobs: list[str]) -> None:
        self.jobs = jobs
        self.refused: list[Kind] = []
        self.asked: list[tuple[Kind, str | None, Mapping[str, str]]] = []

    async def list_metadata(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        self.asked.append((kind, namespace, labels))
        if kind in self.refused:
            raise Rejected(f"{kind.plural} is forbidden")
        found = [(space, name) for space, names in self.jobs.items() for name in names if namespace in (None, space)]
        return [
            {"metadata": {"namespace": space, "name": name, "uid": f"uid-{name}", "resourceVersion": "7"}}
            for space, name in found
        ]


async def test_without_namespaces_all_are_asked_for_at_once() -> None:
    cluster = Cluster(ml=["a", "c"], research=["b"])
    listing = Listing(cluster, ())
    assert await listing.refs(without={"uid-c"}) == [
        Ref(Kind.FINE_TUNE_JOB, "ml", "a"),
        Ref(Kind.FINE_TUNE_JOB, "research", "b"),
    ]
    assert await listing.versions(Kind.POD) == {"uid-a": "7", "uid-b": "7", "uid-c": "7"}
    assert cluster.asked == [(Kind.FINE_TUNE_JOB, None, {}), (Kind.POD, None, OURS)]


async def test_each_watched_namespace_is_asked_for_alone() -> None:
    cluster = Cluster(ml=["a"], research=["b"], theirs=["c"])
    listing = Listing(cluster, ("ml", "research"))
    assert await listing.versions(Kind.JOB) == {"uid-a": "7", "uid-b": "7"}
    assert cluster.asked == [(Kind.JOB, "ml", OURS), (Kind.JOB, "research", OURS)]


async def test_what_may_not_be_listed_is_said_once_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(ml=["a"])
    cluster.refused = [Kind.JOB, Kind.POD]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) in (3, 5):
            cluster.refused.pop(0)

    await Listing(cluster, (), sleep=sleep).wait_until_allowed()
    assert slept == [5.0] * 5
    assert caplog.messages == [
        "waiting for what is to be watched: jobs is forbidden",
        "waiting for what is to be watched: pods is forbidden",
    ]
