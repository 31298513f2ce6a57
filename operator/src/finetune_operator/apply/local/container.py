"""A pod's one container as a process: its command, environment and files, a cluster's paths made this machine's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from finetune_api.contract import PORT_NAME_PROGRESS, PORT_NAME_RENDEZVOUS, TERMINATION_LOG, Env
from finetune_operator.apply import Body, Manifest, Rejected

LOOPBACK = "127.0.0.1"
_NOT_INHERITED = re.compile(
    # What a shell may hold and an image does not: settings of Python itself, of another gang, of another pod.
    r"(PYTHON|LOCAL_|MASTER_|TORCHELASTIC_|KUBERNETES_|FINETUNE_).*|RANK|WORLD_SIZE"
)
_MAP_FIELD = re.compile(r"metadata\.(annotations|labels)\['(.+)'\]")
_PORT_VARIABLES = {PORT_NAME_RENDEZVOUS: Env.RENDEZVOUS_PORT, PORT_NAME_PROGRESS: Env.PROGRESS_PORT}
_VOLUMES = ("configMap", "emptyDir", "ephemeral")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where one pod's files lie. Names are short, for a socket's path may have 107 bytes and lies in a volume."""

    path: Path

    @property
    def termination_log(self) -> Path:
        return self.path / ".termination-log"

    @property
    def session(self) -> Path:
        """Record of the pod's processes."""
        return self.path / ".session.json"

    def volume(self, name: str) -> Path:
        return self.path / name


def check(template: Body, *, num_pods: int, gpu_resource: str, num_gpus: int) -> None:
    """Raises Rejected for a pod template that cannot run as a process on this machine."""
    spec = template["spec"]
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        raise Rejected("spec.template.spec.containers: only pods of one container run on one machine")
    for volume in spec.get("volumes", ()):
        if not any(kind in volume for kind in _VOLUMES):
            raise Rejected(
                f"spec.template.spec.volumes[{volume['name']}]: only {', '.join(_VOLUMES)} exist on one machine"
            )
    wanted = num_pods * gpus(spec, gpu_resource)
    if wanted > num_gpus:
        raise Rejected(
            f"spec.workers: {wanted} GPUs are asked for and this machine has {num_gpus}; "
            "lower spec.workers.nodes or spec.workers.gpusPerNode (0 trains on the CPU)"
        )


def gpus(spec: Body, gpu_resource: str) -> int:
    """GPUs that the one container of a pod spec asks for."""
    return int(spec["containers"][0].get("resources", {}).get("limits", {}).get(gpu_resource, 0))


def with_ports(spec: Body, ports: Mapping[str, int]) -> Manifest:
    """The pod spec with the container ports that are named in `ports` moved there: all pods share one address here."""
    container = dict(spec["containers"][0])
    container["ports"] = [
        {**port, "containerPort": ports.get(port.get("name"), port["containerPort"])}
        for port in container.get("ports", ())
    ]
    return {**spec, "containers": [container]}


def command(container: Body, python: str) -> list[str]:
    """`python` is the interpreter that stands in for the image's."""
    arguments = [*container.get("command", ()), *container.get("args", ())]
    return [python if arguments[0] == "python" else arguments[0], *arguments[1:]]


def environment(
    pod: Body, folder: Folder, *, hosts: Mapping[str, str], devices: tuple[str, ...], inherited: Mapping[str, str]
) -> dict[str, str]:
    """The caller's environment stands in for the image's and for Secrets; the container's own comes on top of it.

    A value under a mount path gets that volume's folder as its prefix, and nothing else is rewritten.
    """
    container = pod["spec"]["containers"][0]
    paths = _paths(container, folder)
    env = {name: value for name, value in inherited.items() if not _NOT_INHERITED.fullmatch(name)}
    for entry in container.get("env", ()):
        if (value := _value(entry, pod)) is not None:
            env[entry["name"]] = _on_this_machine(value, paths)
    for port in container.get("ports", ()):
        if (name := _PORT_VARIABLES.get(port["name"])) in env:
            env[name] = str(port["containerPort"])
    return {**env, Env.HOSTS: json.dumps(dict(hosts)), Env.VISIBLE_DEVICES: ",".join(devices)}


def hosts(pod: Body, num_pods: int) -> dict[str, str]:
    """Names of the pods of this pod's Job, by themselves and below their headless Service → loopback."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    job = spec["hostname"].rpartition("-")[0]
    suffixes = [""]
    if domain := spec.get("subdomain"):
        suffixes += [f".{domain}{end}" for end in ("", f".{namespace}.svc", f".{namespace}.svc.cluster.local")]
    return {f"{job}-{index}{suffix}": LOOPBACK for index in range(num_pods) for suffix in suffixes}


def make_files(pod: Body, folder: Folder, config_maps: Mapping[str, Body]) -> None:
    """Lay out the pod's volumes and its empty termination log."""
    folder.path.mkdir(parents=True, exist_ok=True)
    for volume in pod["spec"].get("volumes", ()):
        target = folder.volume(volume["name"])
        target.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            for key, text in config_maps[volume["configMap"]["name"]].get("data", {}).items():
                (target / key).write_text(text)
    folder.termination_log.touch()


def config_maps(pod: Body) -> tuple[str, ...]:
    """Names of the ConfigMaps that must exist before the pod can start."""
    return tuple(v["configMap"]["name"] for v in pod["spec"].get("volumes", ()) if "configMap" in v)


def _paths(container: Body, folder: Folder) -> dict[PurePosixPath, Path]:
    paths = {PurePosixPath(m["mountPath"]): folder.volume(m["name"]) for m in container.get("volumeMounts", ())}
    return {**paths, PurePosixPath(container.get("terminationMessagePath", TERMINATION_LOG)): folder.termination_log}


def _on_this_machine(value: str, paths: Mapping[PurePosixPath, Path]) -> str:
    asked = PurePosixPath(value)
    for path in (asked, *asked.parents):
        if path in paths:
            return str(paths[path] / asked.relative_to(path))
    return value


def _value(entry: Mapping[str, Any], pod: Body) -> str | None:
    """None where the caller's environment is asked instead."""
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if "secretKeyRef" in source or "resourceFieldRef" in source:
        return None
    path = source["fieldRef"]["fieldPath"]
    if found := _MAP_FIELD.fullmatch(path):
        return str(pod["metadata"].get(found[1], {}).get(found[2], ""))
    fields = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"]["namespace"],
        "metadata.uid": pod["metadata"]["uid"],
        "status.podIP": LOOPBACK,
    }
    return str(fields[path])
