"""The operator as a process: when it is ready, when it acts, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from cluster import ApiServer
from cluster_client import FINETUNE_JOBS, Resource, eventually
from cluster_job import ClusterJob
from cluster_operator import Operator
from permissions import LEASE_RULES, RULES, grant, kubeconfig

pytestmark = pytest.mark.tier("api")

LEASES = Resource("coordination.k8s.io/v1", "leases")
LEASE = "finetune-operator"
Make = Callable[..., Operator]


@pytest.fixture
def make(api_server: ApiServer, crd: None, namespace: str) -> Iterator[Make]:
    """Makes operators that watch one namespace, where their Lease lies too; they end with the test."""
    made: list[Operator] = []

    def operator(**settings: str) -> Operator:
        made.append(Operator(api_server, **{"NAMESPACES": namespace, "OWN_NAMESPACE": namespace, **settings}))
        return made[-1]

    yield operator
    for each in made:
        each.kill()
    forget_jobs(api_server, namespace)


def forget_jobs(api_server: ApiServer, namespace: str) -> None:
    """Or the operator of later tests would run them, on nodes that are not endless."""
    api_server.client.request("DELETE", FINETUNE_JOBS.path(namespace))


def holder(api_server: ApiServer, namespace: str) -> str | None:
    lease = api_server.client.get(LEASES, namespace, LEASE)
    return lease["spec"]["holderIdentity"] if lease else None


def said(operator: Operator) -> str:
    return operator.process.log.read_text()


def ended(operator: Operator) -> int:
    eventually(lambda: not operator.process.running)
    assert operator.process.exit_code is not None
    return operator.process.exit_code


def test_it_acts_once_it_is_ready_and_leaves_promptly_when_asked(
    api_server: ApiServer, namespace: str, make: Make
) -> None:
    operator = make()
    operator.start()
    assert operator.get("/livez") == (200, "ok")
    assert holder(api_server, namespace) == "operator-under-test"
    job = ClusterJob(api_server.client, namespace)
    job.create({})
    eventually(lambda: job.status.start_time)
    eventually(lambda: 'finetune_operator_jobs{phase="Preparing"} 1.0' in operator.get("/metrics")[1])
    # Stopped with 5 s of grace: a process that needs longer is killed, and ends with -9.
    operator.process.stop(grace_seconds=5)
    assert operator.process.exit_code == 0
    assert holder(api_server, namespace) == ""
    assert "ERROR" not in said(operator)
    assert "Traceback" not in said(operator)


def test_it_writes_nothing_onto_a_job_but_its_status(api_server: ApiServer, namespace: str, make: Make) -> None:
    make().start()
    job = ClusterJob(api_server.client, namespace)
    job.create({})
    eventually(lambda: job.status.start_time)
    body = job.body
    assert body is not None
    assert body["metadata"].keys() & {"annotations", "finalizers"} == set()
    written = [each for each in body["metadata"]["managedFields"] if each["manager"] != "python-urllib3"]
    assert {each.get("subresource") for each in written if each["manager"] == "finetune-operator"} == {"status"}


def test_a_job_that_was_there_before_it_started_is_taken_up(api_server: ApiServer, namespace: str, make: Make) -> None:
    job = ClusterJob(api_server.client, namespace)
    job.create({})
    make().start()
    eventually(lambda: job.status.start_time)


def test_what_happens_outside_its_namespaces_is_none_of_its_business(
    api_server: ApiServer, namespace: str, new_namespace: Callable[[], str], make: Make
) -> None:
    theirs = ClusterJob(api_server.client, new_namespace())
    ours = ClusterJob(api_server.client, namespace)
    theirs.create({})
    make().start()
    ours.create({})
    eventually(lambda: ours.status.start_time)
    assert theirs.status.observed_generation == -1
    forget_jobs(api_server, theirs.namespace)


def test_a_second_one_waits_alive_but_not_ready_and_takes_over_when_the_first_leaves(
    api_server: ApiServer, namespace: str, make: Make
) -> None:
    first, second = make(IDENTITY="first"), make(IDENTITY="second")
    first.start()
    second.process.start()
    eventually(lambda: "held by first" in said(second))
    assert second.get("/livez") == (200, "ok")
    assert second.get("/readyz") == (500, "the lease\nthe watches")
    job = ClusterJob(api_server.client, namespace)
    job.create({})
    eventually(lambda: f"{namespace}/triage" in said(first))
    assert f"{namespace}/triage" not in said(second)
    first.process.stop()
    eventually(lambda: second.answers("/readyz"))
    assert holder(api_server, namespace) == "second"


def test_losing_the_lease_ends_it_at_once(api_server: ApiServer, namespace: str, make: Make) -> None:
    operator = make()
    operator.start()
    api_server.client.patch(LEASES, namespace, LEASE, {"spec": {"holderIdentity": "usurper"}})
    assert ended(operator) == 1
    assert said(operator).splitlines()[-1].endswith("ERROR the operator ended: LeaseLost: taken by usurper")
    assert holder(api_server, namespace) == "usurper"


def test_a_missing_permission_is_named_and_waited_for(api_server: ApiServer, namespace: str, make: Make) -> None:
    without_jobs = [rule for rule in RULES if "jobs" not in rule["resources"]]
    grant(api_server, namespace, [*without_jobs, *LEASE_RULES], namespace=namespace)
    operator = make()
    operator.process.env = {**operator.process.env, "KUBECONFIG": str(kubeconfig(api_server, namespace))}
    operator.process.start()
    eventually(lambda: "waiting for what is to be watched: jobs.batch is forbidden: " in said(operator))
    assert operator.get("/livez") == (200, "ok")
    assert operator.get("/readyz") == (500, "the lease\nthe watches")
    assert holder(api_server, namespace) is None
    grant(api_server, namespace, [*RULES, *LEASE_RULES], namespace=namespace)
    eventually(lambda: operator.answers("/readyz"))


def test_settings_that_cannot_be_used_are_said_in_one_line(make: Make) -> None:
    operator = make(WORKERS="many")
    operator.process.start()
    assert ended(operator) == 2
    assert said(operator).endswith("ERROR FINETUNE_OPERATOR_WORKERS is 'many', but must be an integer from 1 to 100\n")
    assert "Traceback" not in said(operator)


def test_a_taken_port_is_said_in_one_line(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        operator = make(SERVE_PORT=str(taken.getsockname()[1]))
        operator.process.start()
        assert ended(operator) == 1
    assert "ERROR the server ended: OSError: " in said(operator)
    assert "Traceback" not in said(operator)
