"""How much memory is left to each rank: of its GPU, or without one of its pod and of the machine it may share."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from finetune_trainer.gang import Gang

_CGROUP = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/sys/kernel/random/boot_id")


def least_free(gang: Gang) -> int:
    """Bytes that every rank can still take while all of them do. Collective."""
    if gang.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(gang.device)
        kept = torch.cuda.memory_reserved(gang.device) - torch.cuda.memory_allocated(gang.device)
        return int(min(gang.gather(free + kept)))
    limit, current, stat = (_read(_CGROUP / name) for name in ("memory.max", "memory.current", "memory.stat"))
    own = left_to_pod(limit=limit, current=current, stat=stat)
    return shared(gang.gather([_read(_MACHINE), left_on_machine(Path("/proc/meminfo").read_text()), own]))


def left_to_pod(*, limit: str, current: str, stat: str) -> int:
    """Of a control group by its memory.max, memory.current and memory.stat; without limit, more than there can be.

    Pages of files are given back when memory is short; those of a volume in memory are not.
    """
    if not limit.strip().isdecimal():
        return sys.maxsize
    pages = dict(line.split() for line in stat.splitlines())
    return int(limit) - int(current) + int(pages["file"]) - int(pages["shmem"])


def left_on_machine(meminfo: str) -> int:
    """By /proc/meminfo."""
    return 1024 * int(meminfo.split("MemAvailable:")[1].split()[0])


def shared(ranks: Iterable[tuple[str, int, int]]) -> int:
    """What the one with least can take: each has a machine, what is left on that, and what is left to itself alone."""
    ranks = list(ranks)
    on_machine = Counter(machine for machine, _, _ in ranks)
    return min(min(on_all // on_machine[machine], own) for machine, on_all, own in ranks)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
