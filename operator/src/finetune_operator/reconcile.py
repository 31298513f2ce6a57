"""One look at one FineTuneJob and everything that follows from it: observe, decide, render, apply."""

from __future__ import annotations

from datetime import datetime

from finetune_operator.apply import Cluster, Ref
from finetune_operator.observe.memory import Memory
from finetune_operator.settings import Settings


async def reconcile(ref: Ref, cluster: Cluster, settings: Settings, now: datetime, memory: Memory) -> float | None:
    """Bring the cluster one step closer to what the FineTuneJob asks for.

    Returns after how many seconds to look again even when nothing happens. Raises Unavailable.
    """
    raise NotImplementedError
