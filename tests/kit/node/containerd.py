"""containerd of a node: its configuration, its network configuration, the images that it has."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
from pathlib import Path

from node.addresses import Seat
from node.daemon import Daemon
from node.machine import command
from node.packages import CNI_PLUGINS

POD_IMAGE = "localhost/pod:test"


def endpoint(init: Daemon) -> Path:
    """Where containerd listens on the machine with this first process: a path that is short enough for a socket."""
    return Path(f"/proc/{init.pid}/root/run/containerd/containerd.sock")


def configuration(network: Path) -> str:
    """TOML; `network` is the folder of the CNI configuration."""
    return f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{POD_IMAGE}"
  # Where CAP_SYS_RESOURCE is missing, every sandbox dies otherwise: "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{network}"
"""


def network_configuration(seat: Seat) -> str:
    """A CNI list: a bridge for the node's pods, whose addresses others see as they are."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": seat.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]})


def ctr(socket_path: Path, *arguments: str, timeout_seconds: float = 600.0) -> str:
    """Run containerd's own client in Kubernetes' namespace."""
    return command("ctr", f"--address={socket_path}", "--namespace=k8s.io", *arguments, timeout_seconds=timeout_seconds)


def listens(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_path)) == 0


def write_image(archive: Path, image: str, binary: Path, *command: str) -> None:
    """Write a docker archive of an image that holds one static binary and runs it with the words of `command`."""
    layer = _tar({binary.name: binary.read_bytes()}, mode=0o755)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{binary.name}"], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]).encode()
    archive.write_bytes(_tar({"layer.tar": layer, "config.json": config, "manifest.json": manifest}, mode=0o644))


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
