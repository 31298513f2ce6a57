"""`python -m node up|down|status`: a Kubernetes cluster of two nodes on this machine, for tests."""

from __future__ import annotations

import argparse
import os
import sys

from binaries import BuildFailed, NoBinaries
from cluster_process import ProcessFailed
from node import lifecycle
from node.machine import CommandFailed
from node.packages import NoNode
from node.state import Folders


def main() -> int:
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "status", "guard"])
    try:
        return run(parser.parse_args().action)
    except (NoNode, NoBinaries, BuildFailed, CommandFailed, ProcessFailed) as error:
        print(error, file=sys.stderr)
        return 1


def run(action: str) -> int:
    """The exit code; 3 when asked for the status of a cluster that is not up."""
    if action == "guard":
        sys.stdin.read()  # ends when whoever holds the other end does, however that is
    if action in ("down", "guard"):
        lifecycle.down(os.environ)
        return 0
    folders = Folders.of(os.environ)
    if action == "up":
        state = lifecycle.up(os.environ, os.geteuid() == 0, lambda line: print(line, file=sys.stderr, flush=True))
    elif (found := lifecycle.status(folders)) is not None:
        state = found
    else:
        print("no cluster is up")
        return 3
    print(f"export KUBECONFIG={folders.kubeconfig}")
    for daemon in state.daemons:
        print(f"{daemon.pid:>8} {daemon.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
