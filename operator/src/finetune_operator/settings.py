"""The operator's settings: frozen, read once from the environment at process start, passed down explicitly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from typing import Any

PREFIX = "FINETUNE_OPERATOR_"


@dataclass(frozen=True, kw_only=True)
class PodDefaults:
    """Resources of a stage's pods where the FineTuneJob names none, as Kubernetes quantities."""

    cpu: str
    memory: str
    scratch: str


@dataclass(frozen=True)
class Destination:
    """Addresses, as a CIDR, and the TCP port to reach there."""

    cidr: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an administrator decides for all jobs. `FINETUNE_OPERATOR_<FIELD>` sets a field."""

    trainer_image: str
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch, separated by commas; empty: all."""
    own_namespace: str = "default"
    """Where the Lease lies, and the operator's own pods."""
    own_labels: Mapping[str, str] = field(default_factory=lambda: {"app.kubernetes.io/name": "finetune-operator"})
    """Of the operator's own pods, `key=value`, separated by commas: who may ask training pods how far they are."""
    identity: str = ""
    """Holder of the Lease: the pod's name, which no two live processes share; empty: a random one."""
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
    """`FINETUNE_OPERATOR_PREPARE_CPU`, `…_MEMORY`, `…_SCRATCH`."""
    train: PodDefaults = field(default_factory=lambda: PodDefaults(cpu="2", memory="16Gi", scratch="100Gi"))
    """`FINETUNE_OPERATOR_TRAIN_CPU`, `…_MEMORY`, `…_SCRATCH`."""
    shm: str = "8Gi"
    """Size limit of /dev/shm in training pods."""
    grace_seconds: int = 120
    """Between SIGTERM and SIGKILL: time for a last checkpoint."""
    kueue: bool = False
    """Whether the cluster has Kueue, which is then asked why a Job waits in its queue."""
    network_policy: bool = True
    """Whether each attempt gets a NetworkPolicy. A network that enforces none ignores it."""
    egress: tuple[Destination, ...] = ()
    """What pods may reach besides each other, DNS and their store, `cidr:port`, separated by commas.

    169.254.169.254/32:80 is the instance metadata of most clouds: closed, for it hands out the node's credentials.
    """
    metrics_namespaces: tuple[str, ...] = ()
    """Namespaces whose pods may read the metrics of a stage's pods, separated by commas."""
    hub_endpoint: str | None = None
    """URL of a Hugging Face Hub to read hf:// from, such as a mirror; None: huggingface.co."""
    local_files: bool = False
    """Whether file:// means the same on every pod: only on one machine without a cluster."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ValueError that names the variable.

        Unknown variables with our prefix are no error: a Service named finetune-operator puts some of its own into
        every pod of its namespace.
        """
        values = {name: value for name, parse in _PARSERS.items() if (value := _read(environ, name, parse)) is not None}
        if "trainer_image" not in values:
            raise ValueError(f"{PREFIX}TRAINER_IMAGE is not set: the image that prepares data and trains")
        defaults = cls(**values)
        return replace(
            defaults,
            prepare=_pod_defaults(environ, "prepare", defaults.prepare),
            train=_pod_defaults(environ, "train", defaults.train),
        )


def _read(environ: Mapping[str, str], name: str, parse: Callable[[str], Any]) -> Any:
    variable = PREFIX + name.upper()
    if variable not in environ:
        return None
    try:
        return parse(environ[variable].strip())
    except ValueError as error:
        raise ValueError(f"{variable} is {environ[variable]!r}, but must be {error}") from None


def _pod_defaults(environ: Mapping[str, str], stage: str, defaults: PodDefaults) -> PodDefaults:
    names = [each.name for each in fields(PodDefaults)]
    read = {name: _read(environ, f"{stage}_{name}", _quantity) for name in names}
    return replace(defaults, **{name: value for name, value in read.items() if value is not None})


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if not re.fullmatch(pattern, raw):
            raise ValueError(what)
        return raw

    return parse


_LABEL_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_VALUE}"
_namespace = _matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "names of namespaces, separated by commas")
_quantity = _matching(r"\d+(\.\d+)?(m|[kMGTPE]i?)?", "a Kubernetes quantity such as 2, 500m or 8Gi")


def _namespaces(raw: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_namespace(name.strip()) for name in raw.split(",") if name.strip()))


def _labels(raw: str) -> dict[str, str]:
    pairs = [pair.strip().partition("=") for pair in raw.split(",")]
    if not all(re.fullmatch(_LABEL_KEY, key) and re.fullmatch(_LABEL_VALUE, value) for key, _, value in pairs):
        raise ValueError("labels such as app.kubernetes.io/name=finetune-operator, separated by commas")
    return {key: value for key, _, value in pairs}


def _egress(raw: str) -> tuple[Destination, ...]:
    return tuple(_destination(each.strip()) for each in raw.split(",") if each.strip())


def _destination(raw: str) -> Destination:
    cidr, _, port = raw.rpartition(":")
    try:
        return Destination(str(ip_network(cidr)), _integer(1, 65535)(port))
    except ValueError:
        raise ValueError("networks with a port each, such as 169.254.169.254/32:80, separated by commas") from None


def _flag(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("true or false")
    return raw == "true"


def _hub_endpoint(raw: str) -> str | None:
    if raw and not re.fullmatch(r"https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/\S+)?", raw):
        raise ValueError("a URL such as https://hub.example.com")
    return raw.rstrip("/") or None


def _progress_url(raw: str) -> str:
    complaint = "a URL that may hold {ip} and {port}, such as http://{ip}:{port}/progress"
    try:
        url = raw.format(ip="127.0.0.1", port=1)
    except (KeyError, IndexError, ValueError):
        raise ValueError(complaint) from None
    if not re.fullmatch(r"https?://\S+", url):
        raise ValueError(complaint)
    return raw


def _number(lowest: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        complaint = f"a number of seconds, at least {lowest:g}"
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(complaint) from None
        if not lowest <= value < float("inf"):
            raise ValueError(complaint)
        return value

    return parse


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not re.fullmatch(r"\d{1,9}", raw) or not lowest <= int(raw) <= highest:
            raise ValueError(f"an integer from {lowest} to {highest}")
        return int(raw)

    return parse


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "trainer_image": _matching(r"\S+", "the name of an image"),
    "namespaces": _namespaces,
    "own_namespace": _matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "the name of a namespace"),
    "own_labels": _labels,
    "identity": _matching(r"\S{1,128}", "a word"),
    "serve_port": _integer(1, 65535),
    "serve_host": _matching(r"\S+", "an address to listen on"),
    "workers": _integer(1, 100),
    "resync_seconds": _number(1),
    "progress_url": _progress_url,
    "progress_seconds": _number(0.1),
    "gpu_resource": _matching(r"[a-z0-9.-]+/[A-Za-z0-9._-]+", "an extended resource such as nvidia.com/gpu"),
    "shm": _quantity,
    "grace_seconds": _integer(1, 86400),
    "kueue": _flag,
    "network_policy": _flag,
    "egress": _egress,
    "metrics_namespaces": _namespaces,
    "hub_endpoint": _hub_endpoint,
}
