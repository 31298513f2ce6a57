"""The real Kueue: its CRDs and webhooks in a cluster, its controller as a process of this machine."""

from __future__ import annotations

import http.client
import subprocess
from base64 import b64encode
from pathlib import Path

import yaml

from cluster_client import ApiError, Client, Manifest
from cluster_process import Process, free_port
from kueue_manifests import GROUP, installed, module_manifests

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"
_COLLECTIONS = {
    "CustomResourceDefinition": _DEFINITIONS,
    "MutatingWebhookConfiguration": f"{_REGISTRATIONS}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"{_REGISTRATIONS}/validatingwebhookconfigurations",
}
_VERSION = "v1beta2"
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
        self._installed: list[Manifest] = []
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
        wanted = installed(module_manifests(self._kubectl), url, authority)
        definitions, webhooks = [], []
        for manifest in wanted:
            (definitions if manifest["kind"] == "CustomResourceDefinition" else webhooks).append(manifest)
        for manifest in definitions:
            self._create(manifest)
        self.process.start()
        self.process.wait_until(self._is_ready)
        # Last, for whatever they concern is refused while nobody answers.
        for manifest in webhooks:
            self._create(manifest)

    def stop(self) -> None:
        """The webhooks go first, and the objects without asking the controller, whose finalizers they carry."""
        for manifest in reversed(self._installed):
            if manifest["kind"] == "CustomResourceDefinition":
                continue
            self._client.request("DELETE", f"{_COLLECTIONS[manifest['kind']]}/{manifest['metadata']['name']}")
        self.process.kill()
        for manifest in self._installed:
            if manifest["kind"] == "CustomResourceDefinition":
                self._client.request("DELETE", f"{_DEFINITIONS}/{manifest['metadata']['name']}")
                self._release(manifest)
        self._installed.clear()

    def _create(self, manifest: Manifest) -> None:
        self._client.request("POST", _COLLECTIONS[manifest["kind"]], manifest)
        self._installed.append(manifest)

    def _release(self, definition: Manifest) -> None:
        """Take the finalizers off the objects of a kind that is being deleted."""
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        try:
            items = self._client.request("GET", f"/apis/{group}/{_VERSION}/{plural}")["items"]
        except ApiError as error:
            if error.status != 404:
                raise
            return
        for item in items:
            namespace, name = item["metadata"].get("namespace"), item["metadata"]["name"]
            where = f"namespaces/{namespace}/{plural}" if namespace else plural
            change = {"metadata": {"finalizers": None}}
            try:
                path = f"/apis/{group}/{_VERSION}/{where}/{name}"
                self._client.request("PATCH", path, change, "application/merge-patch+json")
            except ApiError as error:
                if error.status != 404:
                    raise

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
