"""How many CPU cores this process may use, of those that the machine has."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def own_cores(asked: int | None) -> int:
    """Of a pod that `asked` for so many, as this machine's kernel tells."""
    cpu_max = _CPU_MAX.read_text() if _CPU_MAX.exists() else ""
    return usable_cores(affinity=len(os.sched_getaffinity(0)), asked=asked, cpu_max=cpu_max)


def usable_cores(*, affinity: int, asked: int | None, cpu_max: str) -> int:
    """At least one: `affinity` cores may run us, the pod `asked` for so many.

    `cpu_max` is the text of the control group's cpu.max (microseconds in each period, or `max`), or empty.
    """
    share, _, period = cpu_max.strip().partition(" ")
    quota = math.ceil(int(share) / int(period)) if share.isdecimal() and period.isdecimal() else sys.maxsize
    return max(1, min(affinity, asked or sys.maxsize, quota))
