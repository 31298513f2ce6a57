"""Who has which address: the host, the nodes on the switch with it, the pods behind each node, the Services."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "10.97.0.1"
SWITCH_PREFIX = 24
PODS = "10.98.0.0/16"
SERVICES = "10.96.0.0/16"


@dataclass(frozen=True)
class Seat:
    """A node's place in the network."""

    number: int

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        return f"10.97.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        """The subnet of its pods."""
        return f"10.98.{self.number}.0/24"


SEATS = (Seat(1), Seat(2))
