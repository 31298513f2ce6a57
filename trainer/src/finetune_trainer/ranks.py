"""The processes of a training pod: what each is told, and what their ends mean together. Pure."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune_api.contract import (
    REASON_LOST_PEER,
    REASON_MICRO_BATCH_TOO_LARGE,
    TERMINAL_EXIT_CODES,
    Env,
    ExitCode,
    Stage,
)
from finetune_api.result import Failure, Result
from finetune_api.spec import Workers
from finetune_trainer.pod import Pod


def ranks_per_pod(workers: Workers) -> int:
    """One process a GPU, or one on CPU."""
    return workers.gpus_per_node or 1


def rank_folder(scratch: Path, local_rank: int) -> Path:
    """Where a rank leaves its progress.json and result.json."""
    return scratch / "ranks" / str(local_rank)


def rank_environ(pod: Pod, workers: Workers, local_rank: int, *, address: str, num_cores: int) -> dict[str, str]:
    """What a rank is told beside the pod's own environment; `address` is rank 0's, `num_cores` what the pod may use."""
    per_pod = ranks_per_pod(workers)
    # With a map of hosts all pods of the gang share this machine and its cores.
    neighbours = per_pod * (workers.nodes if pod.hosts else 1)
    environ = {
        "RANK": str(pod.node_rank * per_pod + local_rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(workers.nodes * per_pod),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(pod.rendezvous_port),
        "OMP_NUM_THREADS": str(max(1, num_cores // neighbours)),
        "DS_ACCELERATOR": "cuda" if workers.gpus_per_node else "cpu",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        # Nothing is compiled but what compilation.py allows; without this DeepSpeed's Muon, which is not used, imports
        # all of inductor: 2 to 8 s.
        "TORCHDYNAMO_DISABLE": "1",
        # Beside the scratch files: a pod's home may be read-only.
        "TORCHINDUCTOR_CACHE_DIR": str(pod.scratch / "compiled"),
        "TRITON_CACHE_DIR": str(pod.scratch / "compiled" / "triton"),
    }
    if ipaddress.ip_address(address).is_loopback:
        environ["GLOO_SOCKET_IFNAME"] = "lo"
    if not workers.gpus_per_node:
        environ[Env.VISIBLE_DEVICES] = ""
    return environ


@dataclass(frozen=True)
class Ended:
    """How one rank ended."""

    local_rank: int
    code: int
    """As subprocess has it: negative for a signal."""
    result: Result | None
    """What it left to say."""


def verdict(ended: Iterable[Ended], *, attempt: int, checkpoint_step: int | None) -> tuple[int, Result]:
    """Exit code and Result of a pod, which are those of the rank whose end explains the others'.

    A terminal code explains everything, then a GPU without memory, which makes its peers crash, then a crash, then a
    retriable fault of its own, then a lost peer.
    """
    decisive = max(ended, key=_weight)
    code = decisive.code if decisive.code >= 0 else 128 - decisive.code
    result = decisive.result
    if result is None:
        reason = "Stopped" if decisive.code == -signal.SIGTERM else "Crashed"
        how = f"was ended by {signal.Signals(-decisive.code).name}" if decisive.code < 0 else f"exited with {code}"
        message = f"local rank {decisive.local_rank} {how} without a word"
        # Done means published, which is something to say.
        code = code or 1
        result = Result(stage=Stage.TRAIN, attempt=attempt, failure=Failure(reason=reason, message=message))
    if result.checkpoint_step is None:
        result = result.model_copy(update={"checkpoint_step": checkpoint_step})
    return code, result


def _weight(ended: Ended) -> int:
    failure = ended.result.failure if ended.result is not None else None
    match ended.code:
        case ExitCode.DONE:
            return 0
        case code if code in (ExitCode.STOPPED, -signal.SIGTERM):
            return 1
        case ExitCode.RETRY if failure is not None and failure.reason == REASON_LOST_PEER:
            return 2
        case ExitCode.RETRY if failure is not None and failure.reason == REASON_MICRO_BATCH_TOO_LARGE:
            return 5
        case ExitCode.RETRY:
            return 3
        case code if code in TERMINAL_EXIT_CODES:
            return 6
        case _:
            return 4
