"""Which connections pods make, as the nodes' own connection tracking sees them: by address, after Services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_process import Process
from node.state import State

_EVENT = re.compile(
    # What was asked for, then what answers: behind a Service that is another address and port.
    r"(?P<protocol>tcp|udp) .*?\bsrc=(?P<source>\S+) dst=\S+ sport=\d+ dport=\d+ "
    r"(\[UNREPLIED\] )?src=(?P<destination>\S+) dst=\S+ sport=(?P<port>\d+) "
)


@dataclass(frozen=True)
class Connection:
    """`protocol` is TCP or UDP; `port` is the destination's."""

    protocol: str
    source: str
    destination: str
    port: int


def connections_in(lines: Iterator[str]) -> set[Connection]:
    """Of the output of `conntrack -E`; other protocols than TCP and UDP are passed over."""
    found = (_EVENT.search(line) for line in lines)
    return {
        Connection(event["protocol"].upper(), event["source"], event["destination"], int(event["port"]))
        for event in found
        if event is not None
    }


@dataclass(frozen=True)
class Recording:
    """Grows for as long as it is taken."""

    logs: Sequence[Path]

    @property
    def connections(self) -> set[Connection]:
        return {each for log in self.logs for each in connections_in(iter(log.read_text().splitlines()))}


@dataclass(frozen=True)
class Traffic:
    """What was recorded until some moment, and all the cluster's pods at that moment, whose addresses explain it."""

    connections: frozenset[Connection]
    pods: Sequence[dict[str, Any]]


@contextmanager
def recorded(state: State, nodes: Sequence[str], folder: Path) -> Iterator[Recording]:
    """Every connection that begins meanwhile on one of these nodes."""
    watchers = [
        Process(
            f"conntrack of {node}",
            ["nsenter", f"--target={state.daemon(node).pid}", "--net", "--", "conntrack", "-E", "-e", "NEW"],
            folder / f"{node}.connections",
        )
        for node in nodes
    ]
    try:
        for watcher in watchers:
            watcher.start()
        yield Recording([watcher.log for watcher in watchers])
    finally:
        for watcher in watchers:
            watcher.kill()
