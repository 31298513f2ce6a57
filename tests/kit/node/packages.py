"""What a node needs of the operating system: found, or installed when the tests run as root on Debian."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

COMMANDS = {
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "runc": "runc",
    "unshare": "util-linux",
}
"""Command → the Debian package that has it."""
CNI_PLUGINS = Path("/usr/lib/cni")
_CNI_PACKAGE = "containernetworking-plugins"


class NoNode(RuntimeError):
    """This machine cannot run nodes; the text says what it lacks."""


def missing(path: str, cni_plugins: Path) -> list[str]:
    """Debian packages of which something is absent."""
    absent = {package for command, package in COMMANDS.items() if shutil.which(command, path=path) is None}
    if not (cni_plugins / "bridge").exists():
        absent.add(_CNI_PACKAGE)
    return sorted(absent)


def ensure(env: Mapping[str, str], root: bool, say: Callable[[str], None]) -> None:
    """Return when everything is here, having installed what was not.

    Raises:
        NoNode: not root, or apt-get could not install them.
    """
    if not root:
        raise NoNode("nodes of our own need root: run as root, or point FINETUNE_TEST_KUBECONFIG at a cluster")
    install(missing(env.get("PATH", ""), CNI_PLUGINS), env, say)


def install(absent: Sequence[str], env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Install Debian packages; with none to install, do nothing.

    Raises:
        NoNode: apt-get could not.
    """
    if not absent:
        return
    words = " ".join(absent)
    if shutil.which("apt-get", path=env.get("PATH")) is None:
        raise NoNode(f"there is no apt-get here to install what nodes need: {words}")
    say(f"installing Debian packages: {words}")
    for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *absent]):
        done = subprocess.run(
            ["apt-get", *arguments],
            env={**env, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise NoNode(f"apt-get {arguments[0]} failed ({words}): {done.stderr.strip()[-1000:]}")
