"""DeepSpeed: how weights, gradients and optimizer state are divided among the ranks. Nothing else."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import deepspeed
import torch
from deepspeed import ops
from deepspeed.ops.op_builder.all_ops import ALL_OPS
from torch import nn

from finetune_api.spec import Precision, Training
from finetune_trainer.gang import Gang


@dataclass(frozen=True, kw_only=True)
class Division:
    """How the work of one optimizer step is divided."""

    zero_stage: int
    """1 | 2"""
    micro_batch_size: int
    """Rows in one forward pass."""
    micro_steps: int
    """Forward passes of a rank per optimizer step."""


def make_engine(
    model: nn.Module, gang: Gang, *, training: Training, precision: Precision, division: Division
) -> deepspeed.DeepSpeedEngine:
    """AdamW with fp32 masters over the model's trainable parameters. Collective.

    Call `engine.backward(loss, scale_wrt_gas=False)` once a micro step with a loss that is multiplied by the number of
    ranks, for the engine averages gradients over them; the learning rate is set by the loop.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # No operator of its own: they are compiled at first use, and the shared-memory all-reduce (compiled at start) takes
    # it for granted that all ranks share one /dev/shm. Asking which of them could be compiled runs a compiler, too.
    ops.__compatible_ops__ = {**dict.fromkeys(ALL_OPS, False), "deepspeed_not_implemented": False}
    deepspeed.init_distributed(dist_backend=None, dist_init_required=False, verbose=False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=training.weight_decay)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        model_parameters=trained,
        config=_config(training, precision, division, world_size=gang.world_size, gpu=gang.device.type == "cuda"),
        dist_init_required=False,
    )
    return engine


def _config(
    training: Training, precision: Precision, division: Division, *, world_size: int, gpu: bool
) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": division.micro_batch_size,
        "gradient_accumulation_steps": division.micro_steps,
        "train_batch_size": division.micro_batch_size * division.micro_steps * world_size,
        "bf16": {"enabled": precision is Precision.BFLOAT16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {"stage": division.zero_stage, "overlap_comm": gpu},
        # torch's own AdamW: DeepSpeed's CPU Adam is compiled at start.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": training.gradient_clip,
        "steps_per_print": 2**31 - 1,
    }
