"""Whether the training that a spec describes fits into memory, how, and what to change in the spec if it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from finetune_api.host import host_memory, scratch
from finetune_api.memory import Choice, Training, choose, estimate, least
from finetune_api.shape import ModelShape
from finetune_api.spec import ActivationCheckpointing, LoRA, MethodType, Precision, Spec
from finetune_api.strings import in_gib, num_bytes

_LEAST_LENGTH = 256
_LEAST_RANK = 4
_MOST_NODES = 64
_GIB = 1 << 30


def room(spec: Spec) -> tuple[str, int] | None:
    """The field that says how much memory a process has, and that in bytes; None where the spec does not say."""
    workers = spec.workers
    field, size = (
        ("spec.workers.gpuMemory", workers.gpu_memory)
        if workers.gpus_per_node
        else ("spec.workers.resources.memory", workers.resources.memory)
    )
    return None if size is None else (field, num_bytes(size))


def fit(
    spec: Spec,
    shape: ModelShape,
    *,
    precision: Precision,
    global_batch_size: int,
    available: int | None,
    limit: int | None = None,
) -> Choice | None:
    """How the work is best divided among processes with so many bytes each; None when it fits in no way.

    More rows than `limit` in one pass did not fit before. Where nothing is known of memory, the spec is taken by its
    word and one row is computed at a time. So it is on CPUs: more at once are no faster there.
    """
    training = Training.of(spec, shape, precision)
    asked, share = spec.memory, -(-global_batch_size // training.world_size)
    if available is None:
        rows = min(asked.micro_batch_size or 1, share, limit or share)
        kept = asked.activation_checkpointing or ActivationCheckpointing.NONE
        return Choice(zero_stage=spec.deepspeed.zero_stage or 2, activation_checkpointing=kept, micro_batch_size=rows)
    if not training.gpu and asked.micro_batch_size is None:
        limit = 1
    return choose(training, memory=asked, deepspeed=spec.deepspeed, available=available, share=share, limit=limit)


@dataclass(frozen=True)
class Remedy:
    """One change."""

    field: str
    """Of the FineTuneJob."""
    value: object
    spec: Spec
    """With the change made."""

    def __str__(self) -> str:
        return f"{self.field}: {self.value}"


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """What does not fit."""

    place: str
    """The field that says how much memory there is."""
    needed: int
    """Bytes of a process, divided and recomputed as far as the spec allows."""
    available: int
    remedy: Remedy | None

    @property
    def field(self) -> str:
        """The one to change."""
        return self.remedy.field if self.remedy else self.place

    def __str__(self) -> str:
        advice = f"{self.remedy} makes it fit" if self.remedy else "no single other change makes it fit"
        needs = f"training takes {in_gib(self.needed)} at least, and there are {in_gib(self.available)}"
        return f"{self.place}: {needs}; {advice}"


def shortage(spec: Spec, shape: ModelShape, *, precision: Precision, global_batch_size: int) -> Shortage | None:
    """Why this training does not fit into the memory and scratch that the spec gives it; None when it does, or may."""
    training = Training.of(spec, shape, precision)
    given = room(spec)
    if given is None:
        return _shortage_of_pods(spec, training)
    place, available = given

    def fits(changed: Spec) -> bool:
        return (
            fit(changed, shape, precision=precision, global_batch_size=global_batch_size, available=available)
            is not None
        )

    if fits(spec):
        return _shortage_of_pods(spec, training)
    share = -(-global_batch_size // training.world_size)
    choice = least(training, memory=spec.memory, deepspeed=spec.deepspeed, share=share)
    needed = estimate(training, choice).total
    return Shortage(place=place, needed=needed, available=available, remedy=remedy(spec, fits))


def _shortage_of_pods(spec: Spec, training: Training) -> Shortage | None:
    """Of what a pod's processes share, GPUs apart. To give them more of it costs least, so that is what is advised."""
    resources = spec.workers.resources
    checked = {"scratch": (resources.scratch, scratch(spec, training))}
    if training.gpu:
        checked = {"memory": (resources.memory, host_memory(spec, training))} | checked
    for name, (given, needed) in checked.items():
        if given is not None and (available := num_bytes(given)) < needed:
            place, enough = f"spec.workers.resources.{name}", f"{-(-needed // _GIB)}Gi"
            changed = _with(spec, "workers", resources=resources.model_copy(update={name: enough}))
            return Shortage(place=place, needed=needed, available=available, remedy=Remedy(place, enough, changed))
    return None


def remedy(spec: Spec, fits: Callable[[Spec], bool]) -> Remedy | None:
    """The first change that suffices by itself. What leaves the outcome as it is comes first, then the mildest."""
    return next((change for change in _changes(spec) if fits(change.spec)), None)


def _changes(spec: Spec) -> Iterator[Remedy]:
    if (asked := spec.memory.micro_batch_size) is not None and asked > 1:
        yield Remedy("spec.memory.microBatchSize", 1, _with(spec, "memory", micro_batch_size=1))
    full = ActivationCheckpointing.FULL
    if spec.memory.activation_checkpointing not in (None, full):
        changed = _with(spec, "memory", activation_checkpointing=full)
        yield Remedy("spec.memory.activationCheckpointing", full, changed)
    method, adapter, stage = spec.method.type, spec.method.adapter, spec.deepspeed.zero_stage
    most = 2 if method is MethodType.QLORA else 3
    if stage is not None:
        for larger in range(stage + 1, most + 1):
            yield Remedy("spec.deepspeed.zeroStage", larger, _with(spec, "deepspeed", zero_stage=larger))
    for nodes in (2 * spec.workers.nodes, 4 * spec.workers.nodes):
        if nodes <= _MOST_NODES:
            yield Remedy("spec.workers.nodes", nodes, _with(spec, "workers", nodes=nodes))
    if adapter is None:
        changed = _with(spec, "method", type=MethodType.LORA, lora=LoRA())
        yield Remedy("spec.method.type", MethodType.LORA, changed)
    elif method is MethodType.LORA and spec.workers.gpus_per_node and stage != 3:
        yield Remedy("spec.method.type", MethodType.QLORA, _with(spec, "method", type=MethodType.QLORA))
    if adapter is not None and adapter.rank > _LEAST_RANK:
        lora = adapter.model_copy(update={"rank": _LEAST_RANK})
        yield Remedy("spec.method.lora.rank", _LEAST_RANK, _with(spec, "method", lora=lora))
    length = spec.training.sequence_length // 2
    while length >= _LEAST_LENGTH:
        yield Remedy("spec.training.sequenceLength", length, _with(spec, "training", sequence_length=length))
        length //= 2


def _with(spec: Spec, part: str, **changes: Any) -> Spec:
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=changes)})
