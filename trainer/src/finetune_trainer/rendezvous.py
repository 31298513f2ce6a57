"""The address of rank 0, which a pod may know by name before its name exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed

WAIT_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


def wait_for_address(
    name: str,
    hosts: Mapping[str, str],
    *,
    lookup: Callable[[str], str],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str:
    """From `hosts`, else from DNS, where the name appears once rank 0's pod has an address.

    `lookup` raises OSError for a name without an address. Raises StageFailed after WAIT_SECONDS.
    """
    if name in hosts:
        return hosts[name]
    end, pause = clock() + WAIT_SECONDS, _FIRST_PAUSE
    while True:
        try:
            return lookup(name)
        except OSError as error:
            if clock() + pause > end:
                message = f"{name} has had no address for {WAIT_SECONDS:.0f} s: {error}"
                raise StageFailed(ExitCode.RETRY, "NoRendezvous", message) from error
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
