"""`python -m images build|load`: build the images of the cluster's tests; bring them to its nodes."""

from __future__ import annotations

import argparse
import os
import sys

from binaries import BuildFailed, NoBinaries
from images.bring import bring
from images.build import build
from images.store import CommandFailed, Store
from node import lifecycle, machine
from node.packages import NoNode
from node.state import Folders


def main() -> int:
    parser = argparse.ArgumentParser(prog="images", description=__doc__)
    parser.add_argument("action", choices=["build", "load"])
    action = parser.parse_args().action
    try:
        if action == "build":
            build(Store.of(os.environ), os.environ, _say)
            return 0
        state = lifecycle.status(Folders.of(os.environ))
        if state is None:
            print("no cluster is up: `python -m node up`", file=sys.stderr)
            return 3
        bring(state, os.environ, _say)
    except (NoNode, NoBinaries, BuildFailed, CommandFailed, machine.CommandFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
