"""Whether this node's GPUs are there and can compute what is asked of them."""

from __future__ import annotations

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
