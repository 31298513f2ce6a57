"""A cluster as its users reach it, by nothing but a kubeconfig: kubectl, helm, and REST through `kubectl proxy`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster_client import Client
from cluster_process import Process, free_port


class Refused(Exception):
    """kubectl or helm ended with an error; the text is what it said."""


class Access:
    """Commands and requests of whoever the kubeconfig names. `client` answers between `start` and `stop`."""

    def __init__(self, kubeconfig: Path, *, kubectl: Path, helm: Path, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.folder = folder
        self._kubectl = kubectl
        self._helm = helm
        port = free_port()
        # Any kubeconfig will do, whatever it authenticates with, and each look costs no process of its own.
        self.proxy = Process(
            "kubectl proxy",
            [str(kubectl), f"--kubeconfig={kubeconfig}", "proxy", f"--port={port}"],
            folder / "kubectl-proxy.log",
        )
        self.client = Client(f"http://127.0.0.1:{port}")

    @property
    def kubectl_folder(self) -> Path:
        """For the PATH of scripts."""
        return self._kubectl.parent

    def start(self) -> None:
        self.proxy.start()
        self.proxy.wait_until(self.client.ready)

    def stop(self) -> None:
        self.proxy.kill()

    def kubectl(self, *arguments: str, stdin: str | None = None, within: float = 60) -> str:
        """What it said. Raises Refused."""
        return self._run(self._kubectl, arguments, stdin, within)

    def helm(self, *arguments: str, within: float = 180) -> str:
        """What it said. Raises Refused."""
        return self._run(self._helm, arguments, None, within)

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """`kubectl apply` of YAML, as people do; what it said, warnings included. Raises Refused."""
        return self.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(manifests, sort_keys=False))

    def forward(self, target: str, namespace: str, port: int) -> tuple[Process, int]:
        """A `kubectl port-forward` that is not started yet, and the loopback port that it listens on."""
        local = free_port()
        arguments = [f"--kubeconfig={self.kubeconfig}", f"--namespace={namespace}", "port-forward", target]
        log = self.folder / f"forward-{local}.log"
        return Process("kubectl port-forward", [str(self._kubectl), *arguments, f"{local}:{port}"], log), local

    def _run(self, command: Path, arguments: Sequence[str], stdin: str | None, within: float) -> str:
        done = subprocess.run(
            [str(command), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl-cache")},
        )
        if done.returncode != 0:
            raise Refused(f"{command.name} {json.dumps(arguments)}: {done.stderr or done.stdout}")
        return done.stdout + done.stderr
