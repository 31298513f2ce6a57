"""Which kernel computes attention: the one that was asked for, or the fastest that is there."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from finetune_api.contract import ExitCode
from finetune_api.spec import AttentionKernel
from finetune_trainer.attention import flex, sdpa, varlen
from finetune_trainer.attention.varlen import Attention
from finetune_trainer.failures import StageFailed


def choose(asked: AttentionKernel | None, obstacles: Mapping[AttentionKernel, str | None]) -> AttentionKernel:
    """Of kernels, fastest first, and why each cannot be used. Raises StageFailed when what was asked for cannot."""
    if asked is None:
        return next(kernel for kernel, obstacle in obstacles.items() if obstacle is None)
    if (obstacle := obstacles[asked]) is not None:
        possible = ", ".join(kernel for kernel, reason in obstacles.items() if reason is None)
        raise StageFailed(
            ExitCode.UNSUPPORTED_HARDWARE,
            "NoSuchAttention",
            f"{asked} cannot be used here: {obstacle}; possible are {possible}",
            field="spec.memory.attention",
        )
    return asked


def obstacles(device: torch.device, dtype: torch.dtype, *, windowed: bool) -> dict[AttentionKernel, str | None]:
    """Why each kernel, fastest first, cannot be used on this machine; None: it can."""
    common = varlen.obstacle(device, dtype)
    return {
        # Who installs it has a newer one than PyTorch brings along.
        AttentionKernel.FLASH_ATTENTION: common or _flash_attention_obstacle(device),
        AttentionKernel.VARLEN: common or _varlen_obstacle(windowed=windowed),
        AttentionKernel.FLEX: flex.obstacle(device),
        AttentionKernel.SDPA: None,
    }


def attention_of(kernel: AttentionKernel, device: torch.device) -> Attention:
    """The kernel behind one signature. Raises KeyError for one that is not there."""
    match kernel:
        case AttentionKernel.FLASH_ATTENTION:
            flash = varlen.flash_attention_kernel(torch.cuda.get_device_capability(device))
            if flash is None:
                raise KeyError(kernel)
            return varlen.of_kernel(flash)
        case AttentionKernel.VARLEN:
            return varlen.of_kernel(varlen.torch_kernel())
        case AttentionKernel.FLEX:
            return flex.documents_attention
        case AttentionKernel.SDPA:
            return sdpa.documents_attention


def _flash_attention_obstacle(device: torch.device) -> str | None:
    found = varlen.flash_attention_kernel(torch.cuda.get_device_capability(device))
    return "flash-attn is not installed in the image" if found is None else None


def _varlen_obstacle(*, windowed: bool) -> str | None:
    if windowed and not varlen.knows_windows(varlen.torch_kernel()):
        return f"in PyTorch {torch.__version__} it knows no sliding window"
    return None
