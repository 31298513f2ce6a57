"""QLoRA (arXiv 2305.14314): the blocks' own weights in 4 bits, by bitsandbytes on a GPU. Written for what it documents,
and never run by a test: no CPU computes it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.weights import Values

FIELD = "spec.method.type"


def check_quantization(device: torch.device, zero_stage: int) -> None:
    """Raises StageFailed where QLoRA does not work."""
    if device.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        lacking = "a GPU" if device.type != "cuda" else "bitsandbytes, which this trainer image does not bring"
        raise StageFailed(
            ExitCode.UNSUPPORTED_HARDWARE, "QLoRAUnsupported", f"{FIELD}: QLoRA needs {lacking}", field=FIELD
        )
    if zero_stage == 3:
        raise StageFailed(
            ExitCode.BAD_CONFIG,
            "QLoRAUndivided",
            "spec.deepspeed.zeroStage: 4-bit weights cannot be divided among GPUs: take stage 1 or 2",
            field="spec.deepspeed.zeroStage",
        )


def replace_linear_layers(base: Any, dtype: torch.dtype) -> None:
    """Put 4-bit layers, still without values, in place of the blocks' linear ones. The head stays as it is."""
    layers = importlib.import_module("bitsandbytes.nn")
    for path, module in list(base.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            layer = layers.Linear4bit(
                module.in_features,
                module.out_features,
                bias=False,
                compute_dtype=dtype,
                compress_statistics=True,
                quant_type="nf4",
                device="meta",
            )
            base.model.layers.set_submodule(path, layer)
    # What PEFT asks before it puts its own 4-bit layers around these.
    base.is_loaded_in_4bit = True


def is_quantized(parameter: Tensor) -> bool:
    """Whether this parameter of such a layer is kept in 4 bits."""
    return type(parameter).__name__ == "Params4bit"


def quantize(like: Any, values: Values, dtype: torch.dtype, device: torch.device) -> nn.Parameter:
    """The parameter in 4 bits on the GPU; it is whole there for as long as that takes."""
    whole = values(0, like.numel()).reshape(like.shape).to(dtype)
    layers = importlib.import_module("bitsandbytes.nn")
    parameter: nn.Parameter = layers.Params4bit(
        whole, requires_grad=False, compress_statistics=True, quant_type="nf4", module=like.module
    ).to(device)
    return parameter
