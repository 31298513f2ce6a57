"""`debian:bookworm-slim` where no registry can be reached: from Debian's own packages, under the same name."""

from __future__ import annotations

from pathlib import Path

from images.store import Store, run

NAME = "docker.io/library/debian:bookworm-slim"

_FILES = {
    # What the official image has of the same name, and for the same reason: to keep layers small.
    "etc/dpkg/dpkg.cfg.d/docker": """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
""",
    "etc/apt/apt.conf.d/docker-clean": """\
APT::Update::Post-Invoke { "rm -f /var/cache/apt/*.bin"; };
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
""",
    # Of the machine that it was made on.
    "etc/hostname": "",
    "etc/resolv.conf": "",
}
_SUPERFLUOUS = (
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)


def make(store: Store) -> None:
    """Takes two minutes. Raises CommandFailed."""
    container = store.buildah("from", "scratch").strip()
    try:
        root = Path(store.buildah("mount", container).strip())
        run("debootstrap", "--variant=minbase", "bookworm", str(root), "http://deb.debian.org/debian")
        _slim(root)
        store.buildah("umount", container)
        store.buildah("config", "--cmd", "bash", container)
        store.buildah("commit", "--quiet", container, NAME)
    finally:
        store.buildah("rm", container)


def _slim(root: Path) -> None:
    superfluous = [path for pattern in _SUPERFLUOUS for path in root.glob(pattern)]
    documents = [path for path in root.glob("usr/share/doc/**/*") if path.name != "copyright" and not path.is_dir()]
    run("rm", "-rf", *map(str, [*superfluous, *documents]))
    for name, text in _FILES.items():
        (root / name).write_text(text)
