"""One machine as a cluster: the API server's answers, the Job controller, garbage collection, and pods as processes."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from finetune_api.contract import PORT_NAME_PROGRESS, PORT_NAME_RENDEZVOUS
from finetune_operator.apply import Body, Conflict, Event, Kind, Manifest, Ref
from finetune_operator.apply.local import container, job_controller
from finetune_operator.apply.local.kubelet import Kubelet
from finetune_operator.apply.local.machine import Machine, free_port
from finetune_operator.apply.local.objects import FOREGROUND, Change, Objects, owner_uids, ref_of, timestamp

_POD_GRACE_SECONDS = 30
_FINISHED = ("Succeeded", "Failed")


class LocalCluster:
    """Implements `Cluster`. Make it inside a running event loop; one at a time owns a machine's folder.

    What a controller would do, happens between two steps of the event loop after a change, never within a call.
    A NetworkPolicy is kept and enforced by nobody: pods here are processes that share one network, with each other and
    with everything else on the machine.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        clock: Callable[[], datetime],
        gpu_resource: str,
        tell: Callable[[Body, Event], None],
        random_source: random.Random,
    ) -> None:
        self._objects = Objects(clock)
        self._machine = machine
        self._clock = clock
        self._gpu_resource = gpu_resource
        self._tell = tell
        self._random = random_source
        self._loop = asyncio.get_running_loop()
        self._settling: asyncio.Handle | None = None
        self._closed = False
        self._kubelet = Kubelet(self._objects, machine, clock, gpu_resource)
        self._objects.watch(self._see)
        self.num_leftovers = self._kubelet.clean_up()
        """Pods of a killed owner of the folder that still ran, and were ended."""

    async def get(self, ref: Ref) -> Body | None:
        return self._objects.get(ref)

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        return self._objects.select(kind, namespace, labels)

    async def create(self, manifest: Manifest) -> Body:
        return self.add(manifest)

    async def delete(self, ref: Ref, *, uid: str, grace_seconds: int | None = None) -> None:
        body = self._objects.get(ref)
        if body is None:
            return
        if body["metadata"]["uid"] != uid:
            raise Conflict(f'{ref.kind.plural} "{ref.name}" has another uid than {uid}')
        self._mark_deleted(body, grace_seconds)

    async def write_status(self, ref: Ref, status: Body, *, resource_version: str) -> Body:
        return self._objects.write_status(ref, status, resource_version=resource_version)

    async def post_event(self, about: Body, event: Event) -> None:
        self._tell(about, event)

    def add(self, manifest: Manifest, *, uid: str | None = None) -> Body:
        """Create an object, which a given uid makes the same as in an earlier life. Raises AlreadyExists, Rejected."""
        if manifest["kind"] == Kind.JOB.kind:
            job_controller.check(manifest)
            container.check(
                manifest["spec"]["template"],
                num_pods=manifest["spec"]["completions"],
                gpu_resource=self._gpu_resource,
                num_gpus=len(self._machine.gpus),
            )
        return self._objects.create(manifest, uid=uid)

    def watch(self, observer: Change) -> None:
        """Call this with every change of every object, in order."""
        self._objects.watch(observer)

    def log(self, pod: str) -> Path:
        """Output of the pod of this name; it outlives the pod."""
        return self._kubelet.log(pod)

    async def close(self) -> None:
        """Stop all pods, each with its own grace, and return when every process is gone. No pod is started any more."""
        self._closed = True
        for pod in self._objects.select(Kind.POD):
            self._mark_deleted(pod, None)
        await self._kubelet.stopped()

    def kill(self) -> None:
        """Let `close` wait for no grace."""
        self._kubelet.stop_at_once()

    def _mark_deleted(self, body: Manifest, grace_seconds: int | None) -> None:
        if grace_seconds is None:
            grace_seconds = body.get("spec", {}).get("terminationGracePeriodSeconds", _POD_GRACE_SECONDS)
        self._objects.mark_deleted(body, grace_seconds=grace_seconds)

    def _see(self, _change: str, _body: Body) -> None:
        if self._settling is None and not self._closed:
            self._settling = self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """What the controllers do next; what that changes is looked at in the next round."""
        self._settling = None
        if self._closed:
            return
        for job in self._objects.select(Kind.JOB):
            self._control(job)
        for kind in Kind:
            for body in self._objects.select(kind):
                self._collect(body)

    def _control(self, job: Manifest) -> None:
        uid = job["metadata"]["uid"]
        pods = [body for body in self._objects.dependents(uid) if body["kind"] == Kind.POD.kind]
        now = timestamp(self._clock())
        step = job_controller.step(job, pods, now=now, suffix=self._suffix)
        for pod in step.counted:
            finalizers = [name for name in pod["metadata"]["finalizers"] if name != job_controller.TRACKING]
            self._objects.replace({**pod, "metadata": {**pod["metadata"], "finalizers": finalizers}})
        for pod in step.delete:
            self._mark_deleted(dict(pod), None)
        ports = {PORT_NAME_RENDEZVOUS: free_port(self._random)} if step.create else {}
        for pod in step.create:
            own = {**ports, PORT_NAME_PROGRESS: free_port(self._random)}
            self._objects.create({**pod, "spec": container.with_ports(pod["spec"], own)})
        self._objects.write_status(ref_of(job), step.status)

    def _collect(self, body: Manifest) -> None:
        """Remove it when it is deleted and nothing holds it; delete it when its owners are gone or on their way."""
        metadata = body["metadata"]
        if "deletionTimestamp" in metadata:
            dependents = self._objects.dependents(metadata["uid"])
            for dependent in dependents:
                if "deletionTimestamp" not in dependent["metadata"]:
                    self._mark_deleted(dependent, None)
            held = set(metadata.get("finalizers", ())) - ({FOREGROUND} if not dependents else set())
            running = body["kind"] == Kind.POD.kind and body["status"].get("phase") not in _FINISHED
            if not held and not running:
                self._objects.remove(ref_of(body))
        elif (owners := owner_uids(body)) and not owners & self._objects.uids():
            self._mark_deleted(body, None)

    def _suffix(self) -> str:
        return "".join(self._random.choices(string.ascii_lowercase + string.digits, k=5))
