"""A machine within this one: namespaces of its own with its own /run, /var/lib, /var/log and cgroup.

Its processes, mounts, links and packet filter rules end with its first process, whoever kills that.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from node.cgroups import make_cgroup
from node.daemon import Daemon

_OWN_FOLDERS = ("run", "var/lib", "var/log")
# The kubelet writes these settings, which belong to the kernel and not to any namespace. It leaves alone what
# already has the value that it wants: so it finds files of ours there, and the host keeps what it has.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclass(frozen=True)
class Machine:
    """`folder` holds what it writes; `pod` is the binary whose `pause` becomes its first process."""

    name: str
    folder: Path
    pod: Path

    @property
    def init(self) -> Daemon:
        namespaces = ("--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
        return Daemon(
            self.name, [str(self.pod), "pause", self.name], self.log("init"), via=("unshare", *namespaces, "--")
        )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    @property
    def cgroup(self) -> str:
        """As the kubelet names it: a path within every hierarchy, which all clusters of a machine share."""
        return f"/finetune-{hashlib.sha256(bytes(self.folder)).hexdigest()[:12]}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.init.start()
        for inner in _OWN_FOLDERS:
            (self.folder / inner).mkdir(parents=True, exist_ok=True)
            self.mount(self.folder / inner, Path("/") / inner)
        for setting, value in _KERNEL_SETTINGS.items():
            private = self.folder / "sys" / setting
            private.parent.mkdir(parents=True, exist_ok=True)
            private.write_text(f"{value}\n")
            self.mount(private, Path("/proc/sys") / setting)
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        make_cgroup(self.cgroup)

    def mount(self, source: Path, target: Path) -> None:
        self.run("mount", "--bind", str(source), str(target))

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.init.pid}", "--mount", "--net", "--pid", "--ipc", "--"]

    def run(self, *argv: str, timeout_seconds: float = 60.0) -> str:
        """Run a command inside; its output, or a CommandFailed."""
        return command(*self._enter(), *argv, timeout_seconds=timeout_seconds)

    def daemon(self, name: str, *argv: str) -> Daemon:
        """A process that will run inside, its log named after it."""
        return Daemon(f"{name} of {self.name}", list(argv), self.log(name), via=self._enter())


class CommandFailed(RuntimeError):
    """A command of the operating system refused; carries what it said."""


def command(*argv: str, timeout_seconds: float = 60.0) -> str:
    """What it printed. Raises CommandFailed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_seconds)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
