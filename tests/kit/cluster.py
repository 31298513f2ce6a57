"""A disposable Kubernetes control plane, started in tiers; on loopback and gone with the test run if not told else."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster_client import ApiError, Client
from cluster_process import Process, free_port

# The tier "api" needs these; KUBEBUILDER_ASSETS has them.
API_COMMANDS = ("etcd", "kube-apiserver", "kubectl")
CONTROLLER_COMMANDS = ("kube-controller-manager", "kube-scheduler")

# RFC 5915 around a P-256 scalar without its public point, which Go computes when it reads the key. So no
# certificate tool is needed: the API server writes its own serving certificate.
_EC_KEY_HEAD = bytes.fromhex("30310201010420")
_EC_KEY_TAIL = bytes.fromhex("a00a06082a8648ce3d030107")


def ec_private_key() -> str:
    """A new P-256 private key in PEM, for signing service account tokens."""
    # 31 random bytes stay below the order of the group.
    der = _EC_KEY_HEAD + b"\0" + secrets.token_bytes(31) + _EC_KEY_TAIL
    return f"-----BEGIN EC PRIVATE KEY-----\n{b64encode(der).decode()}\n-----END EC PRIVATE KEY-----\n"


@dataclass(frozen=True)
class User:
    """Somebody the API server knows by a throw-away token."""

    name: str
    token: str
    group: str = ""


# An address on loopback may not become an endpoint, and pods that nobody runs need none.
NO_ENDPOINT = "--endpoint-reconciler-type=none"


class ApiServer:
    """Tier *api*: etcd and kube-apiserver. `client` and `kubeconfig` are the administrator's.

    `users` are known besides the administrator and the controllers, each with its group or "". `process` makes
    what runs them, `context` is the name in kubeconfigs.
    """

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        address: str = "127.0.0.1",
        arguments: Sequence[str] = (NO_ENDPOINT,),
        users: Mapping[str, str] = MappingProxyType({}),
        process: type[Process] = Process,
        context: str = "test",
    ) -> None:
        self.binaries = binaries
        self.folder = folder
        self.has_controllers = False
        self._process = process
        self._context = context
        known = {
            "admin": "system:masters",
            "system:kube-controller-manager": "",
            "system:kube-scheduler": "",
            **users,
        }
        self._users = {name: User(name, secrets.token_hex(16), group) for name, group in known.items()}
        etcd_port, peer_port, self._port = free_port(), free_port(), free_port()
        self.url = f"https://{address}:{self._port}"
        self.signing_key = folder / "service-accounts.key"
        # The API server writes leaf and authority into one file; both ends read it as the trust bundle.
        self.authority = folder / "certificates" / "apiserver.crt"
        self._tokens = folder / "tokens.csv"
        self.etcd = self.process(
            binaries / "etcd",
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
        )
        self.server = self.process(
            binaries / "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            f"--bind-address={address}",
            f"--secure-port={self._port}",
            f"--cert-dir={self.authority.parent}",
            f"--token-auth-file={self._tokens}",
            "--authorization-mode=Node,RBAC",
            # As OpenShift does: owner references that block deletion take a right of their own.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.signing_key}",
            f"--service-account-signing-key-file={self.signing_key}",
            *arguments,
        )

    def process(self, binary: Path, *arguments: str) -> Process:
        """A process of this control plane: its log lies beside the others', named after the binary."""
        return self._process(binary.name, [str(binary), *arguments], self.folder / f"{binary.name}.log")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signing_key.write_text(ec_private_key())
        self._tokens.write_text(
            "".join(f"{user.token},{user.name},{user.name},{user.group}\n" for user in self._users.values())
        )
        self.etcd.start()
        self.start_server()

    def start_server(self) -> None:
        """Start kube-apiserver (again): same port, same certificate, same data."""
        self.server.start()
        self.server.wait_until(self.authority.exists)
        self.client = Client(self.url, self._users["admin"].token, str(self.authority))
        self.kubeconfig = self.kubeconfig_of("admin")
        self.server.wait_until(self.client.ready)

    def stop_server(self) -> None:
        """Stop kube-apiserver alone: to everybody else the control plane has become unreachable."""
        self.server.kill()

    def stop(self) -> None:
        self.server.kill()
        self.etcd.kill()

    def kubeconfig_of(self, name: str) -> Path:
        """Write the kubeconfig of a user that the server knows."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self._context,
            "clusters": [
                {
                    "name": self._context,
                    "cluster": {"server": self.url, "certificate-authority": str(self.authority)},
                }
            ],
            "users": [{"name": name, "user": {"token": self._users[name].token}}],
            "contexts": [{"name": self._context, "context": {"cluster": self._context, "user": name}}],
        }
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; the caller looks at the exit code."""
        return subprocess.run(
            [str(self.binaries / "kubectl"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            },
        )

    def apply(self, *manifests: dict[str, Any]) -> None:
        """`kubectl apply` as a user would; CustomResourceDefinitions are served when it returns."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        done = self.kubectl("apply", "--filename=-", stdin=document)
        if done.returncode != 0:
            raise ApiError(422, done.stderr)
        crds = [m["metadata"]["name"] for m in manifests if m["kind"] == "CustomResourceDefinition"]
        if crds:
            self.kubectl("wait", "--for=condition=Established", "crd", *crds).check_returncode()

    def create_namespace(self, name: str) -> None:
        """Where controllers run it returns once pods are admitted there, which takes a service account."""
        self.client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        if self.has_controllers:
            self.server.wait_until(lambda: self.has_service_account(name))

    def has_service_account(self, namespace: str) -> bool:
        try:
            self.client.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except ApiError:
            return False
        return True


class ControlPlane:
    """Tier *controlplane*: an ApiServer with kube-controller-manager and kube-scheduler beside it."""

    def __init__(self, api: ApiServer, binaries: Path, manager_arguments: Sequence[str] = ()) -> None:
        self.api = api
        self.controller_manager = api.process(
            binaries / "kube-controller-manager",
            f"--kubeconfig={api.folder / 'system-kube-controller-manager.kubeconfig'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--root-ca-file={api.authority}",
            f"--service-account-private-key-file={api.signing_key}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={api.folder / 'certificates'}",
            # Its stock limits (20 requests a second, 5 workers), not the code under test, set the pace otherwise.
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-job-syncs=20",
            *manager_arguments,
        )
        self.scheduler = api.process(
            binaries / "kube-scheduler",
            f"--kubeconfig={api.folder / 'system-kube-scheduler.kubeconfig'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={api.folder / 'certificates'}",
        )

    def start(self) -> None:
        self.api.kubeconfig_of("system:kube-controller-manager")
        self.api.kubeconfig_of("system:kube-scheduler")
        self.controller_manager.start()
        self.scheduler.start()
        self.controller_manager.wait_until(lambda: self.api.has_service_account("default"))
        self.api.has_controllers = True

    def stop(self) -> None:
        self.scheduler.kill()
        self.controller_manager.kill()
