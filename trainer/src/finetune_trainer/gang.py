"""The ranks of one attempt and what they tell each other beside gradients: JSON values and exact sums, over gloo."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from finetune_trainer.rendezvous import wait_for_listener

# A hang is ended by the launcher's watchdog long before; this only keeps a lost gang from waiting for ever.
TIMEOUT = timedelta(minutes=30)
# Others wait in one for who brings 50 GB to its node, or publishes them.
CONTROL_TIMEOUT = timedelta(hours=3)

_LEAVE_SECONDS = 30.0

_LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "Socket closed",
)


@dataclass(frozen=True)
class Gang:
    """One rank's view of the gang. Every method is collective: all ranks call it, in the same order."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    group: dist.ProcessGroup
    """Gloo, on every machine: control messages never wait behind a GPU's queue."""
    store: TCPStore
    """Kept by rank 0."""

    def gather(self, value: Any) -> list[Any]:
        """What each rank said, by rank, on every rank. JSON values: a tuple arrives as a list."""
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(lengths, torch.tensor([own.numel()]), group=self.group)
        # Gloo gathers equal shapes only.
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: own.numel()] = own
        received = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(received, padded, group=self.group)
        return [
            json.loads(bytes(message[: int(length)].tolist()))
            for message, length in zip(received, lengths, strict=True)
        ]

    def broadcast(self, value: Any) -> Any:
        """What rank 0 said; the argument of the others is ignored. JSON values."""
        return self.gather(value if self.rank == 0 else None)[0]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element by element, in fp64, the same bits on every rank."""
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return [float(value) for value in total]

    def barrier(self) -> None:
        self.sum([0.0])

    def leave(self) -> None:
        """Before an orderly end: returns when no rank is inside a collective any more, on rank 0 last of all.

        A collective can be done on one rank while another still needs the connection. Gives up on ranks that are late.
        """
        self.store.add("finished", 1)
        self._wait("finished", self.world_size)
        if self.rank > 0:
            self.store.add("left", 1)
        else:
            self._wait("left", self.world_size - 1)

    def _wait(self, key: str, number: int) -> None:
        end = time.monotonic() + _LEAVE_SECONDS
        while self.store.add(key, 0) < number and time.monotonic() < end:
            time.sleep(0.01)


@contextmanager
def form_gang(environ: Mapping[str, str], *, gpu: bool) -> Iterator[Gang]:
    """Join the ranks named by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; leave them at the end.

    After a fault nobody takes leave: the process ends anyway, and NCCL waits for peers that may be gone.
    """
    rank, world_size, local_rank = (int(environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    device = torch.device("cuda", local_rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    store = _store(environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), rank=rank, world_size=world_size)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo", store=store, rank=rank, world_size=world_size, timeout=TIMEOUT
    )
    group = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    if not isinstance(group, dist.ProcessGroup):
        raise RuntimeError("this rank is not in its own gang")
    gang = Gang(rank, world_size, local_rank, device, group, store)
    yield gang
    gang.leave()
    dist.destroy_process_group()


def _store(address: str, port: int, *, rank: int, world_size: int) -> TCPStore:
    """The rendezvous. Rank 0 listens on the gang's address only, not on every interface as the default would."""
    if rank > 0:
        wait_for_listener(address, port, seconds=TIMEOUT.total_seconds())
        return TCPStore(address, port, world_size, is_master=False, timeout=TIMEOUT)
    family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((address, port), family=family)
    return TCPStore(address, port, world_size, is_master=True, timeout=TIMEOUT, master_listen_fd=listener.detach())


def is_lost_peer(error: BaseException) -> bool:
    """Whether a collective failed because another rank is gone, which is never this rank's fault."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST_PEER)
    )
