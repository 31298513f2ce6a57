"""DeepSpeed: how weights, gradients and optimizer state are divided among the ranks. Nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import deepspeed
import torch
from deepspeed import ops, zero
from deepspeed.ops.op_builder.all_ops import ALL_OPS
from torch import Tensor, nn

from finetune_api.memory import BUCKET_ELEMENTS, GATHERED_ELEMENTS
from finetune_api.spec import Precision, Training
from finetune_trainer.division import Division
from finetune_trainer.gang import Gang
from finetune_trainer.weights import Room, Values, whole_on


def room_of(gang: Gang, *, training: Training, precision: Precision, division: Division) -> Room:
    """Where the parameters of a model for `make_engine` are put: under ZeRO 3 a rank holds its share of each."""
    if division.zero_stage < 3:
        return whole_on(gang.device)
    _prepare_deepspeed()
    # Of an empty module: it partitions nothing yet. Whole weights would be broadcast from rank 0, read and drawn alike.
    partitioning = zero.Init(nn.Module(), config_dict_or_path=_config(training, precision, division, gang))

    def make(like: Tensor, values: Values) -> nn.Parameter:
        # Whole for this moment and without values, so that in host memory no page of it is ever touched.
        whole = torch.empty(like.shape, dtype=like.dtype, device=gang.device)
        parameter: Any = nn.Parameter(whole, requires_grad=like.requires_grad)
        partitioning._convert_to_deepspeed_param(parameter)
        parameter.partition()
        own = parameter.ds_tensor
        start = gang.rank * own.numel()
        length = max(0, min(own.numel(), like.numel() - start))
        own[:length].copy_(values(start, length))
        own[length:].zero_()
        return cast("nn.Parameter", parameter)

    return make


def make_engine(
    model: nn.Module, gang: Gang, *, training: Training, precision: Precision, division: Division
) -> deepspeed.DeepSpeedEngine:
    """AdamW with fp32 masters over the model's trainable parameters, whose room is `room_of`'s. Collective.

    Call `engine.backward(loss, scale_wrt_gas=False)` once a micro step with a loss that is multiplied by the number of
    ranks, for the engine averages gradients over them; the learning rate is set by the loop.
    """
    _prepare_deepspeed()
    groups = _groups(model, training.weight_decay)
    parameters = [parameter for group in groups for parameter in group["params"]]
    num_trained = sum(whole_shape(parameter).numel() for parameter in parameters)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(groups, fused=gang.device.type == "cuda"),
        model_parameters=parameters,
        config=_config(training, precision, division, gang, trained=num_trained),
        dist_init_required=False,
    )
    return engine


def gathered(parameter: nn.Parameter) -> AbstractContextManager[None]:
    """While it is held, the parameter has its whole value on every rank. Collective."""
    return cast("AbstractContextManager[None]", zero.GatheredParameters([parameter]))


def is_divided(model: nn.Module) -> bool:
    """Whether each rank holds a part of every weight: all of them must then call every layer equally often."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """While it is held, each rank has every weight and calls layers as often as it likes. Beginning it is collective.

    DeepSpeed's hooks, which gather a layer's weights for a call and let them go after it, are put aside. Its own
    `unwrap_model_for_generation` registers new ones afterwards: whatever was compiled with the old would be compiled
    again, and the order of the layers learnt anew.
    """
    if not is_divided(model):
        yield
        return
    hooks = [of_one for module in model.modules() for of_one in (module._forward_pre_hooks, module._forward_hooks)]
    kept = [of_one.copy() for of_one in hooks]
    with zero.GatheredParameters(model.parameters()):
        for of_one in hooks:
            of_one.clear()
        try:
            yield
        finally:
            for of_one, before in zip(hooks, kept, strict=True):
                of_one.update(before)


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """Also where this rank holds a part."""
    found: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return found


def _prepare_deepspeed() -> None:
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # No operator of its own: they are compiled at first use, and the shared-memory all-reduce (compiled at start) takes
    # it for granted that all ranks share one /dev/shm. Asking which of them could be compiled runs a compiler, too.
    ops.__compatible_ops__ = {**dict.fromkeys(ALL_OPS, False), "deepspeed_not_implemented": False}
    deepspeed.init_distributed(dist_backend=None, dist_init_required=False, verbose=False)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices that multiply decay; norms and biases do not, nor do embeddings (a tied head is one): rarely met, they
    would fade while nothing is learnt of them."""
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in trained if len(whole_shape(parameter)) > 1 and parameter not in embeddings]
    kept = [parameter for parameter in trained if len(whole_shape(parameter)) == 1 or parameter in embeddings]
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _config(
    training: Training, precision: Precision, division: Division, gang: Gang, *, trained: int = 1
) -> dict[str, Any]:
    """`trained` parameters in all. The limits are those that `finetune_api.memory` counts with."""
    bucket = min(trained, BUCKET_ELEMENTS)
    return {
        "train_micro_batch_size_per_gpu": division.micro_batch_size,
        "gradient_accumulation_steps": division.micro_steps,
        "train_batch_size": division.micro_batch_size * division.micro_steps * gang.world_size,
        "bf16": {"enabled": precision is Precision.BFLOAT16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {
            "stage": division.zero_stage,
            "overlap_comm": gang.device.type == "cuda",
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_max_live_parameters": GATHERED_ELEMENTS,
            "stage3_max_reuse_distance": GATHERED_ELEMENTS,
        },
        # torch's own AdamW: DeepSpeed's CPU Adam is compiled at start.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": training.gradient_clip,
        "steps_per_print": 2**31 - 1,
    }
