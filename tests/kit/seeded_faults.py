"""A slow store that refuses some requests, as a program: nothing but the standard library and the file beside it.

`python seeded_faults.py UPSTREAM PORT SEED` listens on every address of its pod and prints each fault and its request.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections.abc import Callable

from fault_proxy import Fault, fault_proxy

SHARE = 0.12
"""Of all requests that run into a fault."""
LONGEST_DELAY = 0.3
FAULTS = (Fault.BUSY, Fault.CUT_REQUEST, Fault.CUT_REPLY, Fault.CUT_BODY)


def seeded(seed: int, sleep: Callable[[float], None]) -> Callable[[str, str], Fault | None]:
    """Request n of equal seeds is equally slow and meets the same fault."""
    numbers = itertools.count()

    def decide(method: str, path: str) -> Fault | None:
        chance = random.Random(f"{seed}/{next(numbers)}")
        sleep(chance.uniform(0, LONGEST_DELAY))
        fault = chance.choice(FAULTS) if chance.random() < SHARE else None
        if fault is not None:
            print(fault.name, method, path)
        return fault

    return decide


def main(upstream: str, port: str, seed: str) -> None:
    with fault_proxy(upstream, address=("0.0.0.0", int(port))) as proxy:  # noqa: S104 - a pod is reached by its address
        proxy.decide = seeded(int(seed), time.sleep)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
