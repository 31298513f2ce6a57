"""A pod before the cluster's S3 server that is slow, and refuses or cuts some requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from real.restricted import deployment, service
from real.store import PORT, Store

IMAGE = "localhost/finetune-trainer:test"
_KIT = Path(__file__).parents[1]
_SCRIPTS = ("fault_proxy.py", "seeded_faults.py")


@dataclass(frozen=True)
class SlowStore:
    """`start` it, then jobs reach the store through `endpoint`."""

    store: Store
    seed: int
    name: str = "slow-s3"

    @property
    def endpoint(self) -> str:
        return f"http://{self.name}.{self.store.namespace}.svc:{PORT}"

    def start(self) -> None:
        """Returns when it listens."""
        namespace = self.store.namespace
        scripts = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": namespace},
            "data": {script: (_KIT / script).read_text() for script in _SCRIPTS},
        }
        self.store.access.apply(
            scripts,
            deployment(
                self.name,
                namespace,
                image=IMAGE,
                port=PORT,
                command=["python", "-u", "/proxy/seeded_faults.py"],
                args=[self.store.endpoint, str(PORT), str(self.seed)],
                volumes=[{"name": "scripts", "configMap": {"name": self.name}}],
                mounts={"scripts": "/proxy"},
                node=self.store.node,
            ),
            service(self.name, namespace, port=PORT),
        )
        self.store.access.kubectl(
            f"--namespace={namespace}", "rollout", "status", f"deployment/{self.name}", "--timeout=100s", within=110
        )

    def stop(self) -> None:
        kinds = "deployment,service,configmap"
        self.store.access.kubectl("delete", kinds, self.name, f"--namespace={self.store.namespace}", "--wait=false")

    def faults(self) -> Counter[str]:
        """How many requests ran into which fault so far."""
        log = self.store.access.kubectl("logs", f"deployment/{self.name}", f"--namespace={self.store.namespace}")
        return Counter(line.split()[0] for line in log.splitlines())
