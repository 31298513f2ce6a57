"""The operator's settings: frozen, read once from the environment at process start, passed down explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PodDefaults:
    """Resources of a stage's pods where the FineTuneJob names none, as Kubernetes quantities."""

    cpu: str
    memory: str
    scratch: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an administrator decides for all jobs."""

    trainer_image: str
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty: all."""
    own_namespace: str = "default"
    """Where the Lease lies."""
    identity: str = "finetune-operator"
    """Holder of the Lease: the pod's name."""
    serve_port: int = 8080
    """Of /livez, /readyz and /metrics."""
    serve_host: str = "0.0.0.0"  # noqa: S104 - a probe comes from the kubelet's address
    workers: int = 10
    """Jobs reconciled at the same time."""
    resync_seconds: float = 600.0
    """Every job is looked at again at least this often."""
    progress_url: str = "http://{ip}:{port}/progress"
    """Where rank 0 is asked how far it is; `{ip}` and `{port}` are the pod's."""
    progress_seconds: float = 15.0
    """Between two questions, and between two writes of progress into one status."""
    gpu_resource: str = "nvidia.com/gpu"
    prepare: PodDefaults = field(default_factory=lambda: PodDefaults(cpu="2", memory="8Gi", scratch="50Gi"))
    train: PodDefaults = field(default_factory=lambda: PodDefaults(cpu="2", memory="16Gi", scratch="100Gi"))
    shm: str = "8Gi"
    """Size limit of /dev/shm in training pods."""
    grace_seconds: int = 120
    """Between SIGTERM and SIGKILL: time for a last checkpoint."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ValueError that names the variable."""
        raise NotImplementedError
