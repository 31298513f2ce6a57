"""Where the real servers that tests run against come from: found, or built once with Go and kept."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MODULES = Path(__file__).parent.parent / "kubernetes" / "binaries"
KEY_LENGTH = 12
_UNFINISHED = ".unfinished"
_VERSION = "k8s.io/component-base/version"


class NoBinaries(RuntimeError):
    """The binaries are neither here nor is there anything to build them with."""


class BuildFailed(RuntimeError):
    """Go was there and could not build them; carries what it said."""


@dataclass(frozen=True)
class Module:
    """A Go module under tests/kubernetes/binaries: the packages to build, each a binary of its last path element,
    and the commands to link to the module's own one, which chooses by the name that it is called by."""

    name: str
    packages: tuple[str, ...]
    links: tuple[str, ...] = ()
    ldflags: str = ""

    @property
    def folder(self) -> Path:
        return _MODULES / self.name

    @property
    def commands(self) -> tuple[str, ...]:
        built = (package.rpartition("/")[2] for package in self.packages if package != ".")
        own = () if self.links or "." not in self.packages else (self.name,)
        return (*own, *self.links, *built)

    @property
    def build(self) -> tuple[str, ...]:
        """Arguments of `go`, but for the output."""
        return ("build", "-trimpath", f"-ldflags=-s -w {self.ldflags}".rstrip(), *self.packages)

    def key(self) -> str:
        """Changes with the versions, the sources and the way of building, and with nothing else."""
        digest = hashlib.sha256("\0".join((*self.build, *self.links)).encode())
        for source in sorted(self.folder.glob("*")):
            digest.update(source.read_bytes())
        return digest.hexdigest()[:KEY_LENGTH]


VERSITYGW = Module("versitygw", ("github.com/versity/versitygw/cmd/versitygw",))
KUBERNETES = Module(
    "kubernetes",
    (".", "sigs.k8s.io/kwok/cmd/kwok"),
    ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"),
    f"-X {_VERSION}.gitVersion=v1.36.3 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36",
)
HELM = Module("helm", ("helm.sh/helm/v4/cmd/helm",))
# Its checksum of sigs.k8s.io/scheduler-library is not in Go's database: `GONOSUMDB=sigs.k8s.io/scheduler-library`
# when its go.sum is written anew.
KUEUE = Module("kueue", ("sigs.k8s.io/kueue/cmd/kueue",))
COREDNS = Module("coredns", (".",))
POD = Module("pod", (".",))
# The S3 server is small and the first that is wanted.
WITHOUT_NODES = (VERSITYGW, KUBERNETES)
WITH_NODES = (*WITHOUT_NODES, COREDNS, POD, HELM, KUEUE)
KEPT = 2
"""Builds of one module that stay in the cache: this checkout's and the one before it."""


def cache_folder(env: Mapping[str, str]) -> Path:
    cache = env.get("XDG_CACHE_HOME") or str(Path(env["HOME"]) / ".cache")
    return Path(cache) / "finetune-operator" / "binaries"


def find(module: Module, needed: Sequence[str], env: Mapping[str, str]) -> Path | None:
    """The folder that holds every needed command: KUBEBUILDER_ASSETS, the convention of controller tests,
    or the cache; None when both lack one."""
    candidates = [cache_folder(env) / f"{module.name}-{module.key()}"]
    if assets := env.get("KUBEBUILDER_ASSETS"):
        candidates.insert(0, Path(assets))
    for folder in candidates:
        if all(os.access(folder / command, os.X_OK) for command in needed):
            return folder
    return None


def ensure(
    module: Module,
    needed: Sequence[str],
    env: Mapping[str, str],
    say: Callable[[str], None],
) -> Path:
    """The folder with the needed commands, building them first when they are nowhere.

    Raises:
        NoBinaries: there is no Go to build them with.
        BuildFailed: with what Go said.
    """
    if folder := find(module, needed, env):
        return folder
    with _lock(module, env, say):
        return find(module, needed, env) or _build(module, env, say)


@contextmanager
def _lock(module: Module, env: Mapping[str, str], say: Callable[[str], None]) -> Iterator[None]:
    folder = cache_folder(env)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{module.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {module.name}, which another process is building")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(module: Module, env: Mapping[str, str], say: Callable[[str], None]) -> Path:
    go = shutil.which("go", path=env.get("PATH"))
    if go is None:
        raise NoBinaries(f"{module.name} is not in the cache and there is no Go on PATH to build it with")
    started = time.monotonic()
    say(f"building {module.name} with Go, once for this machine (minutes)")
    target = cache_folder(env) / f"{module.name}-{module.key()}"
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{module.name}-", suffix=_UNFINISHED) as scratch:
        folder = Path(scratch) / "built"
        folder.mkdir()
        # cgo off: the machine may have no C compiler, and nothing here needs one. And it does not stand back before the
        # tests that run beside it: those that need it wait more than they compute, and are the last to end.
        done = subprocess.run(
            [go, module.build[0], f"-o={folder}/", *module.build[1:]],
            cwd=module.folder,
            env={**env, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise BuildFailed(f"building {module.name} failed: {done.stderr.strip()[-2000:]}")
        for link in module.links:
            (folder / link).symlink_to(module.name)
        folder.rename(target)
    _prune(module, env)
    say(f"{module.name} built in {time.monotonic() - started:.0f} s")
    return target


def _prune(module: Module, env: Mapping[str, str]) -> None:
    """Remove old builds, Kubernetes alone being 200 MB for each version of its go.mod, and what a killed one left."""
    builds = cache_folder(env).glob(f"{module.name}-{'?' * KEY_LENGTH}")
    old = sorted(builds, key=lambda folder: folder.stat().st_mtime, reverse=True)[KEPT:]
    for folder in (*old, *cache_folder(env).glob(f"{module.name}-*{_UNFINISHED}")):
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="binaries", description=__doc__)
    parser.add_argument("action", choices=["build"])
    parser.add_argument("--nodes", action="store_true", help="also what tests with real pods need")
    modules = WITH_NODES if parser.parse_args().nodes else WITHOUT_NODES
    try:
        for module in modules:
            ensure(module, module.commands, os.environ, lambda line: print(line, file=sys.stderr, flush=True))
    except (NoBinaries, BuildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
