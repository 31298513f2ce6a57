"""One machine as a cluster: what a real control plane does too, and what only processes can do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import CASES, Case, config_map, gone, job_manifest, job_with, pods_of, running_pods, until
from finetune_api.contract import PORT_NAME_PROGRESS, PORT_NAME_RENDEZVOUS
from finetune_operator.apply import Body, Kind, Manifest, Ref, Rejected
from finetune_operator.apply.local.job_controller import INDEX
from local_world import LocalWorld, local_cluster


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Callable[..., LocalWorld]]:
    worlds: list[LocalWorld] = []

    def make(**machine: Any) -> LocalWorld:
        gate = tmp_path / "gate"
        gate.mkdir(exist_ok=True)
        worlds.append(LocalWorld(local_cluster(tmp_path / "machine", **machine), gate))
        return worlds[-1]

    yield make
    for world in worlds:
        world.cluster.kill()
        await world.cluster.close()


@pytest.fixture
async def world(make_world: Callable[..., LocalWorld]) -> LocalWorld:
    return make_world()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_this_machine_does_as_a_cluster_does(case: Case, world: LocalWorld) -> None:
    await case(world)


def running(world: LocalWorld, program: str, *, pods: int = 1, **container: Any) -> Manifest:
    """A Job whose pods run this Python program."""
    job = job_manifest(world, pods=pods)
    job["spec"]["template"]["spec"]["containers"] = [
        {"name": "trainer", "image": "trainer:test", "command": ["python", "-I", "-S", "-c", program], **container}
    ]
    return job


async def end_of(world: LocalWorld, index: int = 0) -> dict[str, Any]:
    """How the pod of this index ended."""

    async def ended() -> dict[str, Any] | None:
        pods = [pod for pod in await pods_of(world) if pod["metadata"]["annotations"][INDEX] == str(index)]
        if not pods or pods[0]["status"].get("phase") not in ("Succeeded", "Failed"):
            return None
        terminated: dict[str, Any] = pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]
        return terminated

    found = await until(ended)
    assert found is not None
    return found


_DUMP = "import json, os; open(os.environ['WORDS'], 'w').write(json.dumps(dict(os.environ)))"
_WORDS = {"name": "WORDS", "value": "/dev/termination-log"}


async def environment_of(world: LocalWorld, job: Manifest) -> dict[str, str]:
    """What a pod of this Job finds in its environment."""
    await world.cluster.create(job)
    environ: dict[str, str] = json.loads((await end_of(world))["message"])
    return environ


async def test_a_pod_learns_its_rank_and_the_names_of_its_gang(world: LocalWorld) -> None:
    program = (
        "import os; rank, hosts = os.environ['JOB_COMPLETION_INDEX'], os.environ['FINETUNE_HOSTS'];"
        "open(os.environ['WORDS'], 'w').write(rank + hosts)"
    )
    await world.cluster.create(running(world, program, pods=2, env=[_WORDS]))
    hosts = json.dumps(
        {
            f"work-{index}{suffix}": "127.0.0.1"
            for index in range(2)
            for suffix in ("", ".work", ".work.ml.svc", ".work.ml.svc.cluster.local")
        }
    )
    assert [(await end_of(world, index))["message"] for index in range(2)] == [f"0{hosts}", f"1{hosts}"]


async def test_paths_below_a_mount_lie_in_the_pods_own_folder_and_no_other_value_is_touched(world: LocalWorld) -> None:
    program = (
        "import json, os; from pathlib import Path; snapshot = Path(os.environ['SNAPSHOT']).read_text();"
        "Path(os.environ['SCRATCH'], 'file').write_text('x');"
        "open(os.environ['WORDS'], 'w').write(json.dumps([snapshot, os.environ['SCRATCH'], os.environ['OTHER']]))"
    )
    env = {"SNAPSHOT": "/etc/finetune/snapshot.json", "SCRATCH": "/scratch", "OTHER": "/scratched", **_as_env(_WORDS)}
    mounts = [{"name": "snapshot", "mountPath": "/etc/finetune"}, {"name": "scratch", "mountPath": "/scratch"}]
    job = running(world, program, env=[{"name": k, "value": v} for k, v in env.items()], volumeMounts=mounts)
    job["spec"]["template"]["spec"]["volumes"] = [
        {"name": "snapshot", "configMap": {"name": "snapshot"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}},
    ]
    await world.cluster.create({**config_map(world, "snapshot"), "data": {"snapshot.json": "content"}})
    await world.cluster.create(job)
    snapshot, scratch, other = json.loads((await end_of(world))["message"])
    (pod,) = await pods_of(world)
    assert (snapshot, scratch, other) == ("content", str(folder_of(world, pod) / "scratch"), "/scratched")


def _as_env(*entries: dict[str, str]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in entries}


async def test_a_pod_waits_for_its_config_map(world: LocalWorld) -> None:
    job = running(world, "", env=[_WORDS])
    job["spec"]["template"]["spec"]["volumes"] = [{"name": "late", "configMap": {"name": "late"}}]
    await world.cluster.create(job)

    async def waits() -> Body | None:
        pods = await pods_of(world)
        return pods[0] if pods and pods[0]["status"].get("phase") == "Pending" else None

    pod = await until(waits)
    assert pod is not None
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {
        "reason": "ContainerCreating",
        "message": 'MountVolume.SetUp failed: configmap "late" not found',
    }
    await world.cluster.create(config_map(world, "late"))
    await job_with(world, "Complete")


async def test_a_pod_that_still_waits_can_be_deleted(world: LocalWorld) -> None:
    job = running(world, "")
    job["spec"]["template"]["spec"]["volumes"] = [{"name": "late", "configMap": {"name": "late"}}]
    created = await world.cluster.create(job)

    async def has_pod() -> bool:
        return bool(await pods_of(world))

    await until(has_pod)
    ref = Ref(Kind.JOB, world.namespace, "work")
    await world.cluster.delete(ref, uid=created["metadata"]["uid"])
    await gone(world, ref)
    assert await pods_of(world) == []


async def test_the_callers_environment_stands_in_for_image_and_secrets(make_world: Callable[..., LocalWorld]) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "AWS_ACCESS_KEY_ID": "mine",
        "PYTHONPATH": "/elsewhere",
        "MASTER_ADDR": "elsewhere",
        "RANK": "7",
        "FINETUNE_SCRATCH": "/elsewhere",
        "CUDA_VISIBLE_DEVICES": "0",
        "HOME": "/home/me",
    }
    secret = {"secretKeyRef": {"name": "s3", "key": "accessKeyId"}}
    env = [_WORDS, {"name": "AWS_ACCESS_KEY_ID", "valueFrom": secret}, {"name": "HOME", "value": "/other"}]
    world = make_world(environ=inherited)
    environ = await environment_of(world, running(world, _DUMP, env=env))
    for name in ("WORDS", "FINETUNE_HOSTS", "LC_CTYPE"):
        environ.pop(name, None)
    assert environ == {
        "PATH": "/usr/bin",
        "AWS_ACCESS_KEY_ID": "mine",
        "HOME": "/other",
        "JOB_COMPLETION_INDEX": "0",
        "CUDA_VISIBLE_DEVICES": "",
    }


async def test_a_gang_meets_at_one_free_port_and_each_pod_answers_at_its_own(world: LocalWorld) -> None:
    program = (
        "import json, os;"
        "ports = [os.environ['FINETUNE_RENDEZVOUS_PORT'], os.environ['FINETUNE_PROGRESS_PORT']];"
        "open(os.environ['WORDS'], 'w').write(json.dumps(ports))"
    )
    env = [
        _WORDS,
        {"name": "FINETUNE_RENDEZVOUS_PORT", "value": "29500"},
        {"name": "FINETUNE_PROGRESS_PORT", "value": "8080"},
    ]
    ports = [
        {"name": PORT_NAME_PROGRESS, "containerPort": 8080},
        {"name": PORT_NAME_RENDEZVOUS, "containerPort": 29500},
    ]
    await world.cluster.create(running(world, program, pods=2, env=env, ports=ports))
    told = [json.loads((await end_of(world, index))["message"]) for index in range(2)]
    (first_rendezvous, first_progress), (second_rendezvous, second_progress) = told
    assert first_rendezvous == second_rendezvous
    assert len({first_rendezvous, first_progress, second_progress, "29500", "8080"}) == 5
    declared = [
        {port["name"]: str(port["containerPort"]) for port in pod["spec"]["containers"][0]["ports"]}
        for pod in await pods_of(world)
    ]
    assert declared == [
        {PORT_NAME_PROGRESS: progress, PORT_NAME_RENDEZVOUS: rendezvous} for rendezvous, progress in told
    ]


async def test_the_pods_of_a_gang_share_out_the_gpus(make_world: Callable[..., LocalWorld]) -> None:
    world = make_world(gpus=("0", "1", "2", "GPU-3"))
    program = "import os; open(os.environ['WORDS'], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    await world.cluster.create(running(world, program, pods=2, env=[_WORDS], resources=limits))
    assert [(await end_of(world, index))["message"] for index in range(2)] == ["0,1", "2,GPU-3"]


async def test_more_gpus_than_there_are_is_refused_with_the_field_to_change(
    make_world: Callable[..., LocalWorld],
) -> None:
    world = make_world(gpus=("0", "1"))
    job = running(world, "", pods=2, resources={"limits": {"nvidia.com/gpu": "2"}})
    with pytest.raises(Rejected, match=r"spec\.workers: 4 GPUs are asked for and this machine has 2"):
        await world.cluster.create(job)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backoffLimit": 3}, "spec: only Indexed Jobs with backoffLimit 0 run on one machine"),
        ({"completions": 3}, r"spec\.completions: must equal spec\.parallelism"),
    ],
)
async def test_a_job_that_would_run_otherwise_than_in_a_cluster_is_refused(
    world: LocalWorld, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Rejected, match=message):
        await world.cluster.create(job_manifest(world, **change))


async def test_a_volume_that_one_machine_does_not_have_is_refused(world: LocalWorld) -> None:
    job = running(world, "")
    job["spec"]["template"]["spec"]["volumes"] = [{"name": "s3", "secret": {"secretName": "s3"}}]
    with pytest.raises(Rejected, match=r"volumes\[s3\]: only configMap, emptyDir, ephemeral exist on one machine"):
        await world.cluster.create(job)


async def test_of_long_last_words_the_end_is_kept(world: LocalWorld) -> None:
    program = "import os; open(os.environ['WORDS'], 'w').write('a' * 4096 + 'z')"
    await world.cluster.create(running(world, program, env=[_WORDS]))
    assert (await end_of(world))["message"] == "a" * 4095 + "z"


async def test_a_command_that_cannot_be_started_says_so_in_its_log(world: LocalWorld) -> None:
    job = running(world, "")
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["/absent"]
    await world.cluster.create(job)
    assert (await end_of(world))["exitCode"] == 128
    (pod,) = await pods_of(world)
    assert "cannot start /absent" in world.cluster.log(pod["metadata"]["name"]).read_text()


async def test_a_signal_that_ends_a_pod_is_128_and_its_number(world: LocalWorld) -> None:
    await world.cluster.create(running(world, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    ended = await end_of(world)
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")


def folder_of(world: LocalWorld, pod: Body) -> Path:
    return world.gate.parent / "machine" / "pods" / str(pod["metadata"]["name"]).rpartition("-")[2]


async def ready_pod(world: LocalWorld) -> Body:
    """The one pod, once its program has said that it is ready."""
    (pod,) = await running_pods(world, count=1)

    async def is_ready() -> bool:
        return (folder_of(world, pod) / ".termination-log").read_text() == "ready"

    await until(is_ready)
    return pod


async def test_a_deleted_pod_is_told_and_has_its_grace_to_end_well(world: LocalWorld) -> None:
    program = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        "open(os.environ['WORDS'], 'w').write('ready'); time.sleep(600)"
    )
    await world.cluster.create(running(world, program, env=[_WORDS]))
    pod = await ready_pod(world)
    seen: list[Body] = []
    world.cluster.watch(lambda change, body: seen.append(body))
    await world.cluster.delete(Ref(Kind.POD, "ml", pod["metadata"]["name"]), uid=pod["metadata"]["uid"])
    await job_with(world, "Complete")  # it ended with 0, so its index has succeeded
    phases = [body["status"]["phase"] for body in seen if body["kind"] == "Pod"]
    assert (phases[0], phases[-1]) == ("Running", "Succeeded")
    assert await pods_of(world) == []


async def test_a_pod_that_heeds_no_signal_is_killed_after_its_grace(world: LocalWorld) -> None:
    program = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(os.environ['WORDS'], 'w').write('ready'); time.sleep(600)"
    )
    job = running(world, program, env=[_WORDS])
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    await world.cluster.create(job)
    pod = await ready_pod(world)
    ends: list[Body] = []
    world.cluster.watch(lambda change, body: ends.append(body) if change == "DELETED" else None)
    await world.cluster.delete(Ref(Kind.POD, "ml", pod["metadata"]["name"]), uid=pod["metadata"]["uid"])
    await job_with(world, "Failed")
    await gone(world, Ref(Kind.POD, "ml", pod["metadata"]["name"]))
    assert ends[0]["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


_STRAY = """
import os, subprocess, sys
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
stray = subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
stray.stdout.readline()
open(os.environ["WORDS"], "w").write(str(stray.pid))
"""


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def test_what_a_pod_leaves_behind_ends_with_it(world: LocalWorld) -> None:
    await world.cluster.create(running(world, _STRAY, env=[_WORDS]))
    ended = await end_of(world)
    assert ended["exitCode"] == 0
    assert not is_alive(int(ended["message"]))


async def test_when_somebody_kills_the_shim_its_pod_ends_too(world: LocalWorld) -> None:
    await world.cluster.create(job_manifest(world, pods=1))
    (pod,) = await running_pods(world, count=1)
    shim = json.loads((folder_of(world, pod) / ".session.json").read_text())["pid"]

    async def child() -> str:
        return Path(f"/proc/{shim}/task/{shim}/children").read_text()

    worker = int((await until(child)).split()[0])
    os.kill(shim, signal.SIGKILL)
    assert (await end_of(world))["exitCode"] == 137
    assert not is_alive(worker)


async def test_a_pods_files_go_with_its_object_and_its_log_stays(world: LocalWorld) -> None:
    job = await world.cluster.create(job_manifest(world, pods=1))
    (pod,) = await running_pods(world, count=1)
    await world.cluster.delete(Ref(Kind.JOB, "ml", "work"), uid=job["metadata"]["uid"])
    await gone(world, Ref(Kind.JOB, "ml", "work"))
    assert list((world.gate.parent / "machine" / "pods").iterdir()) == []
    assert world.cluster.log(pod["metadata"]["name"]).exists()


async def test_closing_ends_every_pod_and_starts_no_other(world: LocalWorld) -> None:
    await world.cluster.create(job_manifest(world))
    pods = await running_pods(world)
    await world.cluster.create(job_manifest(world, name="late"))
    await world.cluster.close()
    assert [pod["status"]["phase"] for pod in await pods_of(world)] == ["Failed", "Failed"]
    assert len(pods) == 2
    await asyncio.sleep(0.1)
    assert await pods_of(world, "late") == []
