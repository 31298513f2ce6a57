"""The certificate by which the API server comes to kubelets, for logs, exec and port-forward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node.machine import command


@dataclass(frozen=True)
class ClientCertificate:
    """Signed by itself, so it is its own authority, too."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> ClientCertificate:
        return cls(folder / "kubelet-client.crt", folder / "kubelet-client.key")


def kubelet_client(folder: Path) -> ClientCertificate:
    made = ClientCertificate.of(folder)
    command(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"),
        *("-subj", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
        *("-addext", "extendedKeyUsage=clientAuth"),
        *("-keyout", str(made.key), "-out", str(made.certificate)),
    )
    return made
