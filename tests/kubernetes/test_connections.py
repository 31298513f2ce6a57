"""What connection tracking says is read as who connected to whom."""

from __future__ import annotations

from node.connections import Connection, connections_in

EVENTS = """\
    [NEW] tcp      6 120 SYN_SENT src=10.98.1.3 dst=10.96.0.1 sport=34304 dport=443 [UNREPLIED] src=10.97.0.1 \
dst=10.98.1.3 sport=36425 dport=34304
    [NEW] udp      17 30 src=10.98.2.2 dst=10.97.0.1 sport=53111 dport=53 [UNREPLIED] src=10.97.0.1 dst=10.98.2.2 \
sport=53 dport=53111
    [NEW] unknown  2 504 src=10.98.1.1 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.98.1.1
conntrack v1.4.7 (conntrack-tools): 3 flow events have been shown.
"""


def test_the_address_behind_a_service_is_the_destination() -> None:
    assert connections_in(iter(EVENTS.splitlines())) == {
        Connection("TCP", "10.98.1.3", "10.97.0.1", 36425),
        Connection("UDP", "10.98.2.2", "10.97.0.1", 53),
    }
