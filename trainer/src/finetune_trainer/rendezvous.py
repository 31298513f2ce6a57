"""Where rank 0 is: a name that a pod may be told before it exists, and a port that opens when rank 0 gets there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed

WAIT_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_CONNECT_SECONDS = 3.0
_LISTENER_PAUSE = 0.2


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


def current_address(name: str, port: int, *, is_own: bool) -> str:
    """Address of the pod that has this name now. Raises OSError.

    A queue starts the same Job again, and for up to half a minute DNS may remember the pod that had the name before:
    an address that is neither this pod's own nor anybody's is none.
    """
    family, _, _, _, place = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    address = str(place[0])
    if is_own:
        socket.create_server((address, 0), family=family).close()
        return address
    with suppress(ConnectionRefusedError):  # the pod is there, and its rank 0 on its way
        socket.create_connection((address, port), _CONNECT_SECONDS).close()
    return address


def wait_for_listener(address: str, port: int, *, seconds: float) -> None:
    """Returns when rank 0 listens. Raises OSError after so many seconds.

    PyTorch's own client asks ever less often: for a rank 0 that came 30 s later it was 8 s late, measured.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), _CONNECT_SECONDS).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_LISTENER_PAUSE)
        else:
            return
