"""The real Kueue: its CRDs and webhooks in a cluster, its controller as a process of this machine."""

from __future__ import annotations

import http.client
import subprocess
from base64 import b64encode
from functools import partial
from pathlib import Path

import yaml

from cluster_client import JSON, MERGE_PATCH, ApiError, Client, Manifest, eventually
from cluster_process import Process, free_port
from kueue_manifests import DEFINITION, GROUP, installed, module_manifests

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"
_WEBHOOKS = {
    "MutatingWebhookConfiguration": f"{_REGISTRATIONS}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"{_REGISTRATIONS}/validatingwebhookconfigurations",
}
_VERSION = "v1beta2"
_API = f"/apis/{GROUP}/{_VERSION}"
# It reads its metrics certificate from /etc/kueue, metrics or not, and from nowhere else: so it gets an /etc of its
# own, which no one else sees and which goes with it.
_WITH_OWN_ETC = 'mount --bind "$0" /etc && exec "$@"'


class Kueue:
    """Root: a mount namespace is made. The API server must run on this machine, for the webhooks lie on loopback.

    Nothing of it is left after `stop`: neither CRDs and their objects nor webhooks.
    """

    def __init__(self, *, client: Client, kubeconfig: Path, kubectl: Path, binary: Path, folder: Path) -> None:
        """`client` and `kubeconfig` are an administrator's; `folder` takes certificate, configuration and log."""
        self._client = client
        self._kubectl = kubectl
        self._folder = folder
        self._health_port, self._webhook_port = free_port(), free_port()
        self._definitions: list[Manifest] = []
        self._webhooks: list[Manifest] = []
        self.process = Process(
            "kueue",
            [
                *("unshare", "--mount", "sh", "-c", _WITH_OWN_ETC, str(folder / "etc")),
                str(binary),
                f"--config={folder / 'kueue.yaml'}",
                f"--kubeconfig={kubeconfig}",
                "--feature-gates=VisibilityOnDemand=false",
            ],
            folder / "kueue.log",
        )

    def start(self) -> None:
        """Returns when Jobs are queued."""
        certificates = self._folder / "etc" / "kueue" / "metrics" / "certs"
        certificates.mkdir(parents=True)
        authority = _self_signed(certificates)
        (self._folder / "kueue.yaml").write_text(yaml.safe_dump(self._configuration(certificates)))
        url = f"https://127.0.0.1:{self._webhook_port}"
        wanted = list(installed(module_manifests(self._kubectl), url, authority))
        self._definitions = [each for each in wanted if each["kind"] == DEFINITION]
        self._webhooks = [each for each in wanted if each["kind"] != DEFINITION]
        # What a run that was killed has left in a cluster that outlived it.
        self._uninstall()
        for definition in self._definitions:
            self._client.request("POST", _DEFINITIONS, definition)
        eventually(self._is_served)
        self.process.start()
        self.process.wait_until(self._is_ready)
        # Last, for whatever they concern is refused while nobody answers.
        for webhook in self._webhooks:
            self._client.request("POST", _WEBHOOKS[webhook["kind"]], webhook)

    def stop(self) -> None:
        self.process.kill()
        self._uninstall()

    def _uninstall(self) -> None:
        """Objects go without asking the controller, whose finalizers they carry."""
        for webhook in self._webhooks:
            self._answer("DELETE", f"{_WEBHOOKS[webhook['kind']]}/{webhook['metadata']['name']}")
        for definition in self._definitions:
            self._answer("DELETE", f"{_DEFINITIONS}/{definition['metadata']['name']}")
        for definition in self._definitions:
            eventually(partial(self._is_gone, definition))

    def _is_served(self) -> bool:
        """Whether discovery has all kinds: the controller asks for them once."""
        found = self._answer("GET", _API)
        served = {resource["name"] for resource in found["resources"]} if found else set()
        return {definition["spec"]["names"]["plural"] for definition in self._definitions} <= served

    def _is_gone(self, definition: Manifest) -> bool:
        """A definition goes after its objects, and those once no finalizer holds them."""
        plural = definition["spec"]["names"]["plural"]
        left = self._answer("GET", f"{_API}/{plural}")
        for item in left["items"] if left else ():
            namespace, name = item["metadata"].get("namespace"), item["metadata"]["name"]
            path = f"{_API}/namespaces/{namespace}/{plural}/{name}" if namespace else f"{_API}/{plural}/{name}"
            self._answer("PATCH", path, {"metadata": {"finalizers": None}}, MERGE_PATCH)
        return self._answer("GET", f"{_DEFINITIONS}/{definition['metadata']['name']}") is None

    def _answer(self, method: str, path: str, body: object = None, content_type: str = JSON) -> Manifest | None:
        """None for what is gone, and for a kind whose storage is just being set up or taken down (429)."""
        try:
            return self._client.request(method, path, body, content_type)
        except ApiError as error:
            if error.status not in (404, 429):
                raise
            return None

    def _configuration(self, certificates: Path) -> Manifest:
        return {
            "apiVersion": f"config.{GROUP}/{_VERSION}",
            "kind": "Configuration",
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health_port}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self._webhook_port, "certDir": str(certificates)},
            "internalCertManagement": {"enable": False},
            "leaderElection": {"leaderElect": False},
            "integrations": {"frameworks": ["batch/job"]},
        }

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def _self_signed(folder: Path) -> str:
    """Writes tls.crt and tls.key for 127.0.0.1; returns the certificate, which is its own authority, in base64."""
    certificate = folder / "tls.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=kueue", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "tls.key"), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return b64encode(certificate.read_bytes()).decode()
