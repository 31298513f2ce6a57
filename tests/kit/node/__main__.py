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
    action = parser.parse_args().action
    folders = Folders.of(os.environ)
    if action == "guard":
        sys.stdin.read()  # ends when whoever holds the other end does, however that is
        action = "down"
    if action == "down":
        lifecycle.down(os.environ)
        return 0
    if action == "status":
        state = lifecycle.status(folders)
    else:
        try:
            state = lifecycle.up(os.environ, os.geteuid() == 0, lambda line: print(line, file=sys.stderr, flush=True))
        except (NoNode, NoBinaries, BuildFailed, CommandFailed, ProcessFailed) as error:
            print(error, file=sys.stderr)
            return 1
    if state is None:
        print("no cluster is up")
        return 3
    print(f"export KUBECONFIG={folders.kubeconfig}")
    for daemon in state.daemons:
        print(f"{daemon.pid:>8} {daemon.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
