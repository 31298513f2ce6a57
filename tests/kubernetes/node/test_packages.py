"""What a node needs is installed, or its absence is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.packages import COMMANDS, NoNode, ensure, missing


def _tools(folder: Path, *commands: str) -> str:
    """A PATH with nothing else."""
    folder.mkdir()
    for command in commands:
        (folder / command).touch(mode=0o755)
    return str(folder)


def test_every_package_of_which_a_command_lacks_is_missing_once(tmp_path: Path) -> None:
    path = _tools(tmp_path / "bin", *(set(COMMANDS) - {"containerd", "ctr", "iptables"}))
    assert missing(path, tmp_path) == ["containerd", "containernetworking-plugins", "iptables"]


def test_nothing_is_missing_where_all_is_there(tmp_path: Path) -> None:
    (tmp_path / "bridge").touch()
    assert missing(_tools(tmp_path / "bin", *COMMANDS), tmp_path) == []


def test_without_root_there_are_no_nodes(tmp_path: Path) -> None:
    with pytest.raises(NoNode, match="need root: run as root, or point FINETUNE_TEST_KUBECONFIG at a cluster"):
        ensure({"PATH": str(tmp_path)}, root=False, say=pytest.fail)


def test_without_apt_get_the_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoNode, match="no apt-get here to install what nodes need: conntrack containerd"):
        ensure({"PATH": str(tmp_path)}, root=True, say=pytest.fail)


def test_a_failed_installation_carries_what_apt_get_said(tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho no such mirror >&2; exit 100\n")
    apt.chmod(0o755)
    said: list[str] = []
    with pytest.raises(NoNode, match=r"apt-get update failed .*: no such mirror"):
        ensure({"PATH": str(tmp_path)}, root=True, say=said.append)
    assert said[0].startswith("installing Debian packages: conntrack containerd")
