"""A rank's part of the training state, out of DeepSpeed and back: the only reader of its internals.

Measured with DeepSpeed 0.19.8 for ZeRO 1, 2 and 3, fp32 and bf16: the master weights of a group of parameters are one
flat fp32 partition per rank; the optimizer's state of a partition has two tensors of its shape and the step. ZeRO 1 and
2 (and the class of its own that ZeRO 1 is in bf16) lay the parameters end to end and cut that; ZeRO 3 cuts each
parameter. Setting the masters and the moments is not enough: without the step and the low-precision weights the next
step is off by 1e-2. Frozen parameters have neither, and are never saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_local_fp32_param
from safetensors import safe_open
from safetensors.torch import save_file

from finetune_api.contract import ExitCode
from finetune_api.strings import in_gib
from finetune_trainer.checkpoint.intervals import Copy
from finetune_trainer.checkpoint.layout import Piece
from finetune_trainer.failures import StageFailed

MASTER: Final = "master"
MOMENTS: Final = ("exp_avg", "exp_avg_sq")
"""AdamW's. Another optimizer first declares its own kinds here."""
KINDS: Final = (MASTER, *MOMENTS)


@dataclass(frozen=True)
class Partition:
    """What this rank holds: its stretches of parameters, and the flat tensors that they lie in."""

    pieces: tuple[Piece, ...]
    """Offsets count through the groups' partitions laid end to end, padding included."""
    groups: tuple[torch.Tensor, ...]
    """Each group's fp32 master weights, on the device."""
    moments: tuple[Mapping[str, Any], ...]
    """Each group's optimizer state; empty before the first step."""

    @property
    def num_elements(self) -> int:
        return sum(group.numel() for group in self.groups)

    @property
    def has_stepped(self) -> bool:
        return all(self.moments)


def partition_of(engine: Any) -> Partition:
    """This rank's, of a DeepSpeed engine with ZeRO 1, 2 or 3. Raises RuntimeError when DeepSpeed has changed."""
    groups = _masters(engine)
    starts = [sum(group.numel() for group in groups[:index]) for index in range(len(groups))]
    pieces = []
    for stretch in _stretches_of_parameters(engine) if _cuts_parameters(engine) else _stretches_of_groups(engine):
        if stretch.master.data_ptr() != groups[stretch.group][stretch.offset :].data_ptr():
            raise RuntimeError(
                f"DeepSpeed no longer keeps {stretch.parameter} where it says: this release cannot be checkpointed"
            )
        if stretch.length > 0:
            offset = starts[stretch.group] + stretch.offset
            pieces.append(Piece(parameter=stretch.parameter, start=stretch.start, length=stretch.length, offset=offset))
    state = engine.optimizer.optimizer.state
    return Partition(tuple(pieces), groups, tuple(state[group] for group in groups))


@dataclass(frozen=True)
class _Stretch:
    """Elements [start, start + length) of a parameter lie at `offset` of a group's partition."""

    parameter: str
    start: int
    length: int
    """≤ 0 where the partition holds nothing but padding of it."""
    group: int
    offset: int
    master: torch.Tensor
    """Where DeepSpeed itself looks for them."""


def _cuts_parameters(engine: Any) -> bool:
    return bool(engine.zero_optimization_stage() == 3)


def _masters(engine: Any) -> tuple[torch.Tensor, ...]:
    if _cuts_parameters(engine):
        return tuple(engine.optimizer.fp32_partitioned_groups_flat)
    return tuple(group["params"][0] for group in engine.optimizer.optimizer.param_groups)


def _stretches_of_groups(engine: Any) -> Iterator[_Stretch]:
    """ZeRO 1 and 2."""
    for name, parameter in engine.module.named_parameters():
        mapping = getattr(parameter, "_hp_mapping", None)
        if parameter.requires_grad and mapping is not None:
            yield _Stretch(
                parameter=name,
                start=mapping.lp_fragment_address.start,
                length=mapping.hp_fragment_address.numel,
                group=mapping.param_group_index,
                offset=mapping.hp_fragment_address.start,
                master=mapping.hp_fragment,
            )


def _stretches_of_parameters(engine: Any) -> Iterator[_Stretch]:
    """ZeRO 3: rank r holds the r-th of equal parts of each parameter, of which the last are padded."""
    names = {parameter: name for name, parameter in engine.module.named_parameters()}
    for group, parameters in enumerate(engine.optimizer.fp16_groups):
        offset = 0
        for parameter in parameters:
            held = parameter.partition_numel()
            start = held * dist.get_rank(parameter.ds_process_group)
            yield _Stretch(
                parameter=names[parameter],
                start=start,
                length=min(held, parameter.ds_numel - start),
                group=group,
                offset=offset,
                master=safe_get_local_fp32_param(parameter),
            )
            offset += held


class HostCopy:
    """Room in the host's memory for all of a partition, page-locked beside a GPU: taken once, and used again."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}

    def room(self, partition: Partition) -> Mapping[str, torch.Tensor]:
        """By kind, fp32, [elements]; what lies there is of the time before. Raises StageFailed when there is none."""
        if not self._tensors:
            pinned, size = partition.groups[0].is_cuda, partition.num_elements
            try:
                self._tensors = {kind: torch.zeros(size, dtype=torch.float32, pin_memory=pinned) for kind in KINDS}
            except RuntimeError as error:
                # CUDA's own words are of memory, too, and would be taken for those of a GPU.
                raise StageFailed(
                    ExitCode.RETRY,
                    "HostMemoryTooSmall",
                    f"a rank copies its checkpoints to {in_gib(len(KINDS) * 4 * size)} of the pod's memory: {error}",
                    field="spec.workers.resources.memory",
                ) from error
        return self._tensors

    def take(self, partition: Partition) -> Mapping[str, torch.Tensor]:
        """Copy masters and moments, whole partitions at a time: all that training waits for."""
        taken = self.room(partition)
        start = 0
        for group, moments in zip(partition.groups, partition.moments, strict=True):
            for kind, target in taken.items():
                source = group.detach() if kind == MASTER else moments[kind]
                target[start : start + group.numel()].copy_(source, non_blocking=True)
            start += group.numel()
        if partition.groups[0].is_cuda:
            torch.cuda.synchronize(partition.groups[0].device)
        return taken


def optimizer_step_of(partition: Partition) -> int:
    """AdamW's own count, which corrects its bias."""
    return int(partition.moments[0].get("step", 0))


def write_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """As a safetensors file."""
    save_file(dict(tensors), path)


def read_shards(room: Mapping[str, torch.Tensor], plan: Sequence[Copy], paths: Mapping[int, Path]) -> None:
    """Fill the room of each kind of state from the files by `plan`, which is ordered by shard."""
    for shard, own in groupby(plan, key=lambda copy: copy.shard):
        stretches = tuple(own)
        with safe_open(paths[shard], framework="pt") as file:
            for kind, target in room.items():
                source = file.get_slice(kind)
                for copy in stretches:
                    target[copy.target : copy.target + copy.length] = source[copy.source : copy.source + copy.length]


def begin_anew(room: Mapping[str, torch.Tensor], engine: Any, partition: Partition) -> None:
    """Fill the room of each kind of state with what it is before the first step: the model as it was made."""
    parameters = dict(engine.module.named_parameters())
    for piece in partition.pieces:
        parameter = parameters[piece.parameter]
        values = engine.module.initial[parameter]()
        room[MASTER][piece.offset : piece.offset + piece.length] = values(piece.start, piece.length).to(parameter.dtype)
    for kind in MOMENTS:
        room[kind].zero_()


def restore(engine: Any, tensors: Mapping[str, torch.Tensor], optimizer_step: int) -> None:
    """Put a partition back, and the low-precision weights after it. All ranks call it: it gathers the weights."""
    optimizer = engine.optimizer.optimizer
    start = 0
    with torch.no_grad():
        for group in _masters(engine):
            stretch = slice(start, start + group.numel())
            group.data.copy_(tensors[MASTER][stretch])
            state = optimizer.state[group]
            if not state:
                # A fused AdamW reads its count where the weights are.
                state["step"] = torch.tensor(0.0, device=group.device if optimizer.defaults["fused"] else None)
                state.update((kind, torch.empty_like(group)) for kind in MOMENTS)
            state["step"].fill_(optimizer_step)
            for kind in MOMENTS:
                state[kind].copy_(tensors[kind][stretch])
            start += group.numel()
        if _cuts_parameters(engine):
            _cast_and_gather(engine.optimizer)
        else:
            engine.optimizer.update_lp_params()


def _cast_and_gather(optimizer: Any) -> None:
    """ZeRO 3, as at the end of its step: each rank's weights from its masters, small parameters whole on every rank."""
    optimizer.checkpoint_event_prologue()
    for group in range(len(optimizer.fp16_groups)):
        optimizer._reassign_or_swap_out_partitioned_parameters(group)
    optimizer.checkpoint_event_epilogue()
