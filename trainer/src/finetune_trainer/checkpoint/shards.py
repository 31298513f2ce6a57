"""A rank's part of the training state, out of DeepSpeed and back: the only reader of its internals.

Measured with DeepSpeed 0.19.8 for ZeRO 1 and 2, fp32 and bf16: each group of parameters has one flat fp32 partition
per rank (the master weights); the optimizer's state of a partition has two tensors of its shape and the step. Setting
the masters and the moments is not enough: without the step and the low-precision weights the next step is off by 1e-2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from finetune_trainer.checkpoint.intervals import Copy
from finetune_trainer.checkpoint.layout import Piece

MASTER: Final = "master"
MOMENTS: Final = ("exp_avg", "exp_avg_sq")
"""AdamW's. Another optimizer first declares its own kinds here."""
KINDS: Final = (MASTER, *MOMENTS)
_NO_MOMENT: Final = torch.zeros(1)
"""AdamW's, before its first step."""


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


def partition_of(engine: Any) -> Partition:
    """This rank's partition of a DeepSpeed engine with ZeRO 1 or 2. Raises RuntimeError when DeepSpeed has changed."""
    optimizer = engine.optimizer.optimizer
    groups = tuple(group["params"][0] for group in optimizer.param_groups)
    starts = [sum(group.numel() for group in groups[:index]) for index in range(len(groups))]
    pieces = []
    for name, parameter in engine.module.named_parameters():
        mapping = getattr(parameter, "_hp_mapping", None)
        if not parameter.requires_grad or mapping is None:
            continue
        flat, own = mapping.hp_fragment_address, mapping.lp_fragment_address
        group = groups[mapping.param_group_index]
        if mapping.hp_fragment.data_ptr() != group[flat.start :].data_ptr():
            raise RuntimeError(f"DeepSpeed no longer keeps {name} where it says: this release cannot be checkpointed")
        pieces.append(
            Piece(
                parameter=name,
                start=own.start,
                length=flat.numel,
                offset=starts[mapping.param_group_index] + flat.start,
            )
        )
    return Partition(tuple(pieces), groups, tuple(optimizer.state[group] for group in groups))


class HostCopy:
    """Page-locked room in the host's memory for one snapshot; used again for the next."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}

    def take(self, partition: Partition) -> Mapping[str, torch.Tensor]:
        """Copy masters and moments, whole partitions at a time: all that training waits for. fp32, [elements]."""
        if not self._tensors:
            pinned = partition.groups[0].is_cuda
            for kind in KINDS:
                self._tensors[kind] = torch.zeros(partition.num_elements, dtype=torch.float32, pin_memory=pinned)
        start = 0
        for group, moments in zip(partition.groups, partition.moments, strict=True):
            for kind, target in self._tensors.items():
                source = group.detach() if kind == MASTER else moments.get(kind, _NO_MOMENT)
                target[start : start + group.numel()].copy_(source, non_blocking=True)
            start += group.numel()
        if partition.groups[0].is_cuda:
            torch.cuda.synchronize(partition.groups[0].device)
        return self._tensors


def optimizer_step_of(partition: Partition) -> int:
    """AdamW's own count, which corrects its bias."""
    return int(partition.moments[0].get("step", 0))


def write_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """As a safetensors file."""
    save_file(dict(tensors), path)


def read_shards(num_elements: int, plan: Sequence[Copy], paths: Mapping[int, Path]) -> Mapping[str, torch.Tensor]:
    """A partition's worth of each kind of state, filled from the files by `plan`; padding is zero."""
    filled = {kind: torch.zeros(num_elements, dtype=torch.float32) for kind in KINDS}
    for shard, path in paths.items():
        with safe_open(path, framework="pt") as file:
            for kind, target in filled.items():
                source = file.get_tensor(kind)
                for copy in plan:
                    if copy.shard == shard:
                        target[copy.target : copy.target + copy.length] = source[
                            copy.source : copy.source + copy.length
                        ]
    return filled


def restore(engine: Any, tensors: Mapping[str, torch.Tensor], optimizer_step: int) -> None:
    """Put a partition back, and the low-precision weights after it. All ranks call it: it gathers the weights."""
    partition = partition_of(engine)
    optimizer = engine.optimizer.optimizer
    start = 0
    with torch.no_grad():
        for group in partition.groups:
            stretch = slice(start, start + group.numel())
            group.data.copy_(tensors[MASTER][stretch])
            optimizer.state[group] = {
                "step": torch.tensor(float(optimizer_step)),
                **{kind: tensors[kind][stretch].to(group.device, copy=True) for kind in MOMENTS},
            }
            start += group.numel()
    engine.optimizer._lazy_init_hp_params_optimizer_state()
    engine.optimizer.update_lp_params()
