"""Binaries are found where they are, built at most once, and their absence says what to do."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from binaries import HELM, KUBERNETES, VERSITYGW, BuildFailed, NoBinaries, cache_folder, ensure, find


def _environment(home: Path, go: str | None) -> dict[str, str]:
    """An empty home, and for `go` a shell script that stands in for the compiler."""
    tools = home / "tools"
    tools.mkdir()
    if go is not None:
        (tools / "go").write_text(f"#!/bin/sh\n{go}\n")
        (tools / "go").chmod(0o755)
    return {"HOME": str(home), "PATH": f"{tools}:/usr/bin:/bin" if go is not None else str(tools)}


# `go build -o=FOLDER/ -trimpath -ldflags=… PACKAGE…`, with a binary for each package.
BUILDS = """
echo built >> "$HOME/builds"
sleep 0.2
for package in "$@"; do
  case "$package" in build|-*) continue ;; .) package="$PWD" ;; esac
  install -m 755 /dev/null "${2#-o=}$(basename "$package")"
done
"""


def test_the_convention_of_controller_tests_wins(tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for command in ("etcd", "kube-apiserver", "kubectl"):
        (assets / command).touch(mode=0o755)
    env = _environment(tmp_path, go=None) | {"KUBEBUILDER_ASSETS": str(assets)}
    assert find(KUBERNETES, ("etcd", "kube-apiserver", "kubectl"), env) == assets
    assert find(KUBERNETES, ("kube-controller-manager",), env) is None


def test_the_cache_lies_where_the_user_says(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "mine")}
    assert cache_folder(env) == tmp_path / "mine" / "finetune-operator" / "binaries"


def test_every_command_of_a_module_is_there_after_a_build(tmp_path: Path) -> None:
    env = _environment(tmp_path, BUILDS)
    folder = ensure(KUBERNETES, KUBERNETES.commands, env, say=lambda line: None)
    assert find(KUBERNETES, KUBERNETES.commands, env) == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted({*KUBERNETES.commands, "kubernetes"})


def test_two_builders_build_once(tmp_path: Path) -> None:
    env = _environment(tmp_path, BUILDS)
    said: list[str] = []
    builders = [
        threading.Thread(target=ensure, args=(VERSITYGW, VERSITYGW.commands, env, said.append)) for _ in range(2)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert (tmp_path / "builds").read_text() == "built\n"
    assert "waiting for versitygw, which another process is building" in said


def test_the_newest_builds_stay_and_those_before_them_go(tmp_path: Path) -> None:
    env = _environment(tmp_path, BUILDS)
    versions = [replace(VERSITYGW, ldflags=f"-X main.Version={number}") for number in range(3)]
    (cache_folder(env) / "versitygw-killed.unfinished").mkdir(parents=True)
    folders = [ensure(version, version.commands, env, say=lambda line: None) for version in versions]
    helm = ensure(HELM, HELM.commands, env, say=lambda line: None)
    assert {path for path in cache_folder(env).iterdir() if path.is_dir()} == {*folders[1:], helm}


def test_without_go_the_reason_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoBinaries, match="versitygw is not in the cache and there is no Go on PATH"):
        ensure(VERSITYGW, VERSITYGW.commands, _environment(tmp_path, go=None), say=lambda line: None)


def test_a_failed_build_is_no_skip_and_leaves_nothing_behind(tmp_path: Path) -> None:
    env = _environment(tmp_path, "echo no such module >&2; exit 1")
    with pytest.raises(BuildFailed, match="building versitygw failed: no such module"):
        ensure(VERSITYGW, VERSITYGW.commands, env, say=lambda line: None)
    assert [path.name for path in cache_folder(env).iterdir()] == ["versitygw.lock"]


def test_another_way_to_build_is_another_key() -> None:
    assert replace(VERSITYGW, ldflags="-X main.Version=test").key() != replace(VERSITYGW).key() == VERSITYGW.key()
