"""kube-proxy of a node: its command line."""

from __future__ import annotations

from pathlib import Path

from node.addresses import PODS, Seat

USER = "system:kube-proxy"


def arguments(seat: Seat, kubeconfig: Path) -> tuple[str, ...]:
    return (
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={seat.name}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        # Settings of the whole kernel: not a namespace's to change.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    )
