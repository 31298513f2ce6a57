"""Runs the pods of the store as processes of this machine, and reports how they fare."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from finetune_operator.apply import Body, Conflict, Kind, Manifest, Ref
from finetune_operator.apply.local import container, pod_status, processes, shim
from finetune_operator.apply.local.container import Folder
from finetune_operator.apply.local.job_controller import INDEX, JOB_NAME
from finetune_operator.apply.local.machine import Machine
from finetune_operator.apply.local.objects import Objects, ref_of, timestamp

_LOGS_KEPT = 50


class Kubelet:
    """One task a pod. Must be made and used inside one event loop."""

    def __init__(self, objects: Objects, machine: Machine, clock: Callable[[], datetime], gpu_resource: str) -> None:
        self._objects = objects
        self._machine = machine
        self._clock = clock
        self._gpu_resource = gpu_resource
        self._pods: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._stop_at_once = False
        objects.watch(self._see)

    def clean_up(self) -> int:
        """End what an earlier owner of this folder left running and remove its pods' files, all but the logs.

        Returns how many pods it ended.
        """
        pods, logs = self._machine.folder / "pods", self._machine.folder / "logs"
        ended = processes.end_leftovers(sorted(pods.glob("*/.session.json")), shim.descendants)
        shutil.rmtree(pods, ignore_errors=True)
        pods.mkdir(parents=True)
        logs.mkdir(exist_ok=True)
        for log in sorted(logs.iterdir(), key=lambda path: path.stat().st_mtime)[:-_LOGS_KEPT]:
            log.unlink()
        return ended

    def log(self, pod: str) -> Path:
        """Where the output of the pod of this name lies."""
        return self._machine.folder / "logs" / f"{pod}.log"

    async def stopped(self) -> None:
        """Returns when no pod runs any more, with the pods' files gone."""
        while self._pods:
            await asyncio.gather(*self._pods.values())
        shutil.rmtree(self._machine.folder / "pods", ignore_errors=True)

    def stop_at_once(self) -> None:
        """From now on nobody is given any grace."""
        self._stop_at_once = True
        for changed in self._changed.values():
            changed.set()

    def _see(self, change: str, body: Body) -> None:
        if body["kind"] == Kind.CONFIG_MAP.kind:
            for changed in self._changed.values():
                changed.set()
        if body["kind"] != Kind.POD.kind:
            return
        uid = body["metadata"]["uid"]
        if change == "ADDED":
            self._changed[uid] = asyncio.Event()
            self._pods[uid] = asyncio.create_task(self._run(ref_of(body), uid))
        elif uid in self._changed:
            self._changed[uid].set()
        if change == "DELETED":
            shutil.rmtree(self._folder(body["metadata"]["name"]).path, ignore_errors=True)

    def _folder(self, pod: str) -> Folder:
        return Folder(path=self._machine.folder / "pods" / pod.rpartition("-")[2])

    async def _run(self, ref: Ref, uid: str) -> None:
        try:
            exit_code = 128 + signal.SIGKILL
            if await self._ready_to_start(ref, uid):
                process = await self._start(ref)
                self._report(ref, partial(pod_status.running, now=self._now()))
                exit_code = await self._wait(ref, uid, process)
            words = self._last_words(ref)
        except OSError as error:  # no space, no such folder, too many processes
            exit_code, words = shim.CANNOT_START, f"cannot start: {error}".encode()
        self._report(ref, partial(pod_status.terminated, now=self._now(), exit_code=exit_code, last_words=words))
        del self._pods[uid], self._changed[uid]

    async def _ready_to_start(self, ref: Ref, uid: str) -> bool:
        """Wait for the pod's ConfigMaps; False when it is deleted first."""
        while self._grace(ref) is None:
            pod = self._pod(ref)
            missing = [name for name in container.config_maps(pod) if self._config_map(ref, name) is None]
            if not missing:
                return True
            message = f'MountVolume.SetUp failed: configmap "{missing[0]}" not found'
            self._report(ref, partial(pod_status.pending, now=self._now(), reason="ContainerCreating", message=message))
            await self._changed[uid].wait()
            self._changed[uid].clear()
        return False

    async def _start(self, ref: Ref) -> Process:
        pod = self._pod(ref)
        folder, spec = self._folder(ref.name), pod["spec"]
        job = self._objects.get(Ref(Kind.JOB, ref.namespace, pod["metadata"]["labels"][JOB_NAME]))
        num_pods = 0 if job is None else job["spec"]["completions"]
        config_maps = {name: self._config_map(ref, name) or {} for name in container.config_maps(pod)}
        container.make_files(pod, folder, config_maps)
        with self.log(ref.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", shim.__file__),
                *container.command(spec["containers"][0], self._machine.python),
                stdin=PIPE,
                stdout=log,
                stderr=STDOUT,
                cwd=folder.path,
                env=container.environment(
                    pod,
                    folder,
                    hosts=container.hosts(pod, num_pods),
                    devices=self._devices(pod),
                    inherited=self._machine.environ,
                ),
                start_new_session=True,
            )
        if session := processes.session_of(process.pid):
            session.write(folder.session)
        return process

    async def _wait(self, ref: Ref, uid: str, process: Process) -> int:
        """The exit code, once every process of the pod is gone. A deleted pod gets SIGTERM, its grace, then SIGKILL."""
        loop, changed = asyncio.get_running_loop(), self._changed[uid]
        session = processes.session_of(process.pid)
        exited = asyncio.create_task(process.wait())
        told: float | None = None
        while not exited.done():
            changed.clear()
            left: float | None = None
            if (grace := self._grace(ref)) is not None:
                if told is None:
                    told = loop.time()
                    _signal(process, signal.SIGTERM)
                left = told + grace - loop.time()
                if left <= 0:
                    _signal(process, shim.STOP_NOW)
                    left = None
            something = asyncio.create_task(changed.wait())
            await asyncio.wait((exited, something), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            something.cancel()
        if exited.result() < 0 and session is not None:
            # Somebody killed the shim itself, and with it the one who ends the others.
            await asyncio.to_thread(processes.end, session)
        return exited.result() if exited.result() >= 0 else 128 - exited.result()

    def _last_words(self, ref: Ref) -> bytes:
        log = self._folder(ref.name).termination_log
        return log.read_bytes() if log.exists() else b""

    def _report(self, ref: Ref, status: Callable[[Body], Manifest]) -> None:
        with contextlib.suppress(Conflict):  # the pod's object is gone: nobody is left to tell
            self._objects.write_status(ref, status(self._pod(ref)))

    def _pod(self, ref: Ref) -> Manifest:
        pod = self._objects.get(ref)
        if pod is None:
            raise Conflict(f'pods "{ref.name}" is gone')
        return pod

    def _config_map(self, pod: Ref, name: str) -> Body | None:
        return self._objects.get(Ref(Kind.CONFIG_MAP, pod.namespace, name))

    def _grace(self, ref: Ref) -> float | None:
        """Seconds between SIGTERM and SIGKILL; None while the pod may live."""
        if self._stop_at_once:
            return 0.0
        metadata = self._pod(ref)["metadata"]
        return float(metadata["deletionGracePeriodSeconds"]) if "deletionTimestamp" in metadata else None

    def _devices(self, pod: Body) -> tuple[str, ...]:
        """The pods of a Job take the machine's GPUs in the order of their indexes."""
        num_gpus = container.gpus(pod["spec"], self._gpu_resource)
        first = int(pod["metadata"]["annotations"][INDEX]) * num_gpus
        return self._machine.gpus[first : first + num_gpus]

    def _now(self) -> str:
        return timestamp(self._clock())


def _signal(process: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
