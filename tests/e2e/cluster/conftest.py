"""Whole jobs on real pods: the operator from its chart, S3 in the cluster, and the one run that others compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster_process import Process
from finetune_api.contract import Stage
from node.connections import Recording, Traffic, recorded
from node.state import State
from real.access import Access
from real.faults import Faults
from real.follow import follower
from real.job import RealJob
from real.materials import BUCKET, make_materials, real_spec
from real.nodes import first_node, schedulable
from real.release import Release
from real.store import Store, upload
from real.story import Finished, finish

NewJob = Callable[..., RealJob]


@pytest.fixture(scope="session")
def own_faults(own_nodes: object | None, request: pytest.FixtureRequest) -> Faults | None:
    """None on a cluster of others, where a test makes do with what any cluster allows."""
    return request.getfixturevalue("faults") if own_nodes is not None else None


@pytest.fixture(scope="session")
def operator_release(cluster: Access, own_images: None) -> Iterator[Release]:
    """The operator, installed by helm."""
    release = Release(cluster, first_node(cluster), {})
    try:
        release.install()
        yield release
    finally:
        release.uninstall()


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and raw rows."""
    return make_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="session")
def store(cluster: Access, own_images: None, materials: Path) -> Iterator[Store]:
    """S3 in the cluster, with model and rows in its bucket."""
    store = Store(cluster, first_node(cluster))
    try:
        store.start()
        store.create_bucket(BUCKET)
        with store.opened() as storage:
            upload(storage, materials, f"s3://{BUCKET}")
        yield store
    finally:
        store.stop()


@pytest.fixture(scope="session")
def new_job(cluster: Access, new_namespace: Callable[[], str], operator_release: Release, store: Store) -> NewJob:
    """`new_job("name", **spec)`: a job that is not applied yet, in a namespace of its own.

    The namespace has the store's keys, unless `keys=False`.
    """

    def create(name: str, *, keys: bool = True, **spec: Any) -> RealJob:
        namespace = new_namespace()
        if keys:
            cluster.apply(store.keys(namespace))
        return RealJob(cluster, namespace, name, real_spec(store, namespace, **spec))

    return create


@pytest.fixture(scope="session")
def recording(
    own_nodes: State | None, cluster: Access, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording | None]:
    """Of all connections on our own nodes; None on somebody's, whose machines are not ours to watch."""
    if own_nodes is None:
        yield None
        return
    with recorded(own_nodes, schedulable(cluster), tmp_path_factory.mktemp("connections")) as recording:
        yield recording


@pytest.fixture(scope="session")
def answers(new_job: NewJob) -> RealJob:
    """The job that nothing interrupts."""
    return new_job("answers")


@pytest.fixture(scope="session")
def followed(
    answers: RealJob, recording: Recording | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """crds/examples/follow.sh, which applies that job and watches it."""
    process = follower(answers, tmp_path_factory.mktemp("followed"))
    try:
        process.start()
        yield process
    finally:
        process.kill()


@dataclass(frozen=True)
class Life:
    """A whole life, and what can be learnt of it only before others come after it."""

    finished: Finished
    logs: Sequence[str]
    """Of its pods, which a lost node takes along."""
    traffic: Traffic | None
    """None where the nodes are not ours to watch."""


@pytest.fixture(scope="session")
def _life(answers: RealJob, followed: Process, store: Store, recording: Recording | None) -> Life:
    finished = finish(answers, store)
    logs = [answers.log(pod["metadata"]["name"]) for stage in Stage for pod in finished.pods[stage]]
    if recording is None:
        return Life(finished, logs, None)
    pods = answers.access.client.request("GET", "/api/v1/pods")["items"]
    return Life(finished, logs, Traffic(frozenset(recording.connections), pods))


@pytest.fixture(scope="session")
def uninterrupted(_life: Life) -> Finished:
    """From the first step to the last in one go, with nothing in its way."""
    return _life.finished


@pytest.fixture(scope="session")
def pod_logs(_life: Life) -> Sequence[str]:
    """Of that job."""
    return _life.logs


@pytest.fixture(scope="session")
def traffic(_life: Life) -> Traffic:
    """All connections that pods made while that job lived."""
    if _life.traffic is None:
        pytest.skip("needs nodes of our own, to see who connects to whom")
    return _life.traffic
