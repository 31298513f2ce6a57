"""This node's GPUs: whether they are there and can compute what is asked of them, and how much memory was held."""

from __future__ import annotations

import resource

import torch

from finetune_api.contract import ExitCode
from finetune_api.spec import Precision
from finetune_trainer.failures import StageFailed


def check_hardware(wanted: int, precision: Precision) -> None:
    """`wanted` GPUs, 0 for none. Raises StageFailed."""
    if wanted > torch.cuda.device_count():
        raise StageFailed(
            ExitCode.UNSUPPORTED_HARDWARE,
            "NoGpu",
            f"{torch.cuda.device_count()} of {wanted} GPUs can be used by PyTorch {torch.__version__} on this node",
            field="spec.workers.gpusPerNode",
        )
    if wanted and precision is Precision.BFLOAT16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise StageFailed(
            ExitCode.UNSUPPORTED_HARDWARE,
            "NoBFloat16",
            f"{torch.cuda.get_device_name()} has no bfloat16: ask for Float32, or for another GPU by nodeSelector",
            field="spec.training.precision",
        )


def gpu_name() -> str | None:
    """This rank's GPU as its driver calls it; a gang's are alike."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def most_memory() -> int:
    """Bytes that this process has held at most: on its GPU, or without one of the machine's memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
