"""The Job controller and the kubelets of a FakeCluster: pods run until the test says how they end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fake_cluster import FakeCluster, ref_of, stamp
from finetune_api.contract import CONTAINER
from finetune_api.result import Result
from finetune_operator.apply import Kind, Ref

INDEX = "batch.kubernetes.io/job-completion-index"


class FakeNodes:
    """`settle` lets everything happen that needs no time."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.queue: Callable[[str], bool] = lambda job_name: False
        """Whether Kueue's webhook suspends a Job of this name when it is created."""
        self.pending: dict[str, dict[str, Any]] = {}
        """Pod name → container state or conditions with which it stays Pending, as fields of a pod's status."""
        self.slow_to_stop: set[str] = set()
        """Pods whose kubelet is silent: deleted, they stay Terminating."""
        self._seen: set[str] = set()

    def settle(self) -> None:
        before = -1
        while before != (before := self.cluster.version):
            for job in self.cluster.of(Kind.JOB):
                self._run_job(job)
            for pod in self.cluster.of(Kind.POD):
                self._run_pod(pod)

    def pods(self, job_name: str) -> list[dict[str, Any]]:
        """Those that the Job controls, by index."""
        uids = [job["metadata"]["uid"] for job in self.cluster.of(Kind.JOB) if job["metadata"]["name"] == job_name]
        owned = [(pod, pod["metadata"].get("ownerReferences", [])) for pod in self.cluster.of(Kind.POD)]
        return [pod for pod, owners in owned if any(owner["uid"] in uids for owner in owners)]

    def end(
        self, pod_name: str, exit_code: int, says: Result | str = "", *, reason: str | None = None, settle: bool = True
    ) -> None:
        """The pod's container ends so."""
        pod = next(pod for pod in self.cluster.of(Kind.POD) if pod["metadata"]["name"] == pod_name)
        words = says if isinstance(says, str) else says.encode().decode()
        _terminate(
            pod, exit_code, words, reason or ("Completed" if exit_code == 0 else "Error"), stamp(self.cluster.now)
        )
        self.cluster.changed(ref_of(pod))
        if settle:
            self.settle()

    def end_all(self, job_name: str, exit_code: int, says: Result | str = "") -> None:
        for pod in self.pods(job_name):
            self.end(pod["metadata"]["name"], exit_code, says, settle=False)
        self.settle()

    def suspend(self, job_name: str, value: bool = True) -> None:
        """As Kueue does when it evicts a Job, or admits it."""
        job = next(job for job in self.cluster.of(Kind.JOB) if job["metadata"]["name"] == job_name)
        job["spec"]["suspend"] = value
        self.cluster.changed(ref_of(job))
        self.settle()

    def disrupt(self, pod_name: str, reason: str = "EvictionByEvictionAPI") -> None:
        """As the eviction API does: marked, then deleted."""
        pod = next(pod for pod in self.cluster.of(Kind.POD) if pod["metadata"]["name"] == pod_name)
        pod["status"].setdefault("conditions", []).append(
            {"type": "DisruptionTarget", "status": "True", "reason": reason}
        )
        self.cluster.doom(ref_of(pod))
        self.settle()

    def _run_job(self, job: dict[str, Any]) -> None:
        name, status = job["metadata"]["name"], job.setdefault("status", {})
        if job["metadata"]["uid"] not in self._seen:
            self._seen.add(job["metadata"]["uid"])
            if self.queue(name):
                job["spec"]["suspend"] = True
        pods = self.pods(name)
        true = {each["type"] for each in status.get("conditions", ())}
        if "Complete" in true or "Failed" in true or "deletionTimestamp" in job["metadata"]:
            return
        active = [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        done = {pod["metadata"]["annotations"][INDEX] for pod in pods if pod["status"]["phase"] == "Succeeded"}
        conditions = list(status.get("conditions", []))
        failed = any(pod["status"]["phase"] == "Failed" for pod in pods) and not job["spec"].get("suspend")
        if "FailureTarget" in true or failed:
            if "FailureTarget" not in true:
                conditions.append(_true("FailureTarget", "BackoffLimitExceeded"))
            for pod in active:
                if "deletionTimestamp" not in pod["metadata"]:
                    self.cluster.doom(ref_of(pod))
            if not active:
                conditions.append(_true("Failed", "BackoffLimitExceeded"))
        elif len(done) == job["spec"]["completions"]:
            conditions += [_true("SuccessCriteriaMet", "CompletionsReached"), _true("Complete", "CompletionsReached")]
        elif job["spec"].get("suspend"):
            for pod in active:
                if "deletionTimestamp" not in pod["metadata"]:
                    self.cluster.doom(ref_of(pod))
        else:
            taken = {pod["metadata"]["annotations"][INDEX] for pod in active} | done
            for index in range(job["spec"]["completions"]):
                if str(index) not in taken:
                    self._make_pod(job, index)
        if job["spec"].get("suspend"):
            status.pop("startTime", None)
        else:
            status.setdefault("startTime", stamp(self.cluster.now))
        known = {"succeeded": len(done), "active": len(active), "conditions": conditions}
        if {key: status.get(key) for key in known} != known:
            status.update(known)
            self.cluster.changed(ref_of(job))

    def _make_pod(self, job: dict[str, Any], index: int) -> None:
        name = f"{job['metadata']['name']}-{index}"
        if Ref(Kind.POD, job["metadata"]["namespace"], name) in self.cluster.objects:
            return
        template = copy.deepcopy(job["spec"]["template"])
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": job["metadata"]["name"],
            "uid": job["metadata"]["uid"],
        }
        self.cluster.add(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": job["metadata"]["namespace"],
                    "labels": {
                        **template["metadata"]["labels"],
                        "batch.kubernetes.io/job-name": job["metadata"]["name"],
                    },
                    "annotations": {**template["metadata"].get("annotations", {}), INDEX: str(index)},
                    "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def _run_pod(self, pod: dict[str, Any]) -> None:
        metadata, status, name = pod["metadata"], pod["status"], pod["metadata"]["name"]
        if "deletionTimestamp" in metadata:
            if name in self.slow_to_stop:
                return
            if status["phase"] in ("Pending", "Running"):
                # Reported first: the Job controller's finalizer keeps the pod until its end is counted.
                _terminate(pod, 143, "", "Error", stamp(self.cluster.now))
                self.cluster.changed(ref_of(pod))
            else:
                self.cluster.remove(ref_of(pod))
            return
        if status["phase"] != "Pending":
            return
        if name in self.pending:
            if pod["status"] == (pending := {**status, **self.pending[name]}):
                return
            pod["status"] = pending
        else:
            pod["spec"]["nodeName"] = f"node-{metadata['annotations'][INDEX]}"
            pod["status"] = {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": CONTAINER, "state": {"running": {"startedAt": stamp(self.cluster.now)}}}
                ],
            }
        self.cluster.changed(ref_of(pod))


def _true(kind: str, reason: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": reason}


def _terminate(pod: dict[str, Any], exit_code: int, words: str, reason: str, time: str) -> None:
    state = {"terminated": {"exitCode": exit_code, "reason": reason, "message": words, "finishedAt": time}}
    pod["status"]["phase"] = "Succeeded" if exit_code == 0 else "Failed"
    pod["status"]["containerStatuses"] = [{"name": CONTAINER, "state": state}]
