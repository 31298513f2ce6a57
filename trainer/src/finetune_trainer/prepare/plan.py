"""What the spec leaves open, chosen; and the digest over all that decides a run's outcome. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_api.contract import ExitCode
from finetune_api.fit import shortage
from finetune_api.result import Resolved
from finetune_api.shape import ModelShape
from finetune_api.spec import LARGEST_CHOSEN_BATCH, LoRA, MethodType, Precision, Schedule, Spec, Training
from finetune_trainer import tokenizers
from finetune_trainer.failures import StageFailed
from finetune_trainer.packing import num_rows, num_steps
from finetune_trainer.prepare import clean, prints, read
from finetune_trainer.prepare.fingerprint import digest_of
from finetune_trainer.prepare.model.architecture import LINEAR_LAYERS, ModelConfig
from finetune_trainer.prepare.read import RawObject
from finetune_trainer.prepared import FORMAT

RUN_FORMAT: Final = 2
"""Raised when the same inputs would give another outcome than before."""
LIBRARIES: Final = read.LIBRARIES | clean.LIBRARIES | prints.LIBRARIES | tokenizers.LIBRARIES
"""Versions of all that shapes the bytes of prepared data."""
ENOUGH_STEPS: Final = 200
WARMUP_PERCENT: Final = 3
DECAY_PERCENT: Final = 10
LEARNING_RATES: Final = {MethodType.LORA: 2e-4, MethodType.QLORA: 2e-4, MethodType.FULL: 1e-5}
"""Adapters start from nothing and take more; a whole model forgets what it knew."""

_NATIVE_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def check_spec(spec: Spec, config: ModelConfig) -> None:
    """What can be known before the data is read: the spec fits the base model. Raises StageFailed."""
    length, longest = spec.training.sequence_length, config.max_position_embeddings
    if length > longest:
        field = "spec.training.sequenceLength"
        message = f"{field}: {length} tokens, the base model was made for {longest}"
        raise StageFailed(ExitCode.BAD_CONFIG, "SequenceTooLong", message, field=field)


def check_method(spec: Spec, config: ModelConfig) -> None:
    """What training alone asks: that the method fits the base model and the workers. Raises StageFailed."""
    target_modules(spec.method.adapter)
    if spec.method.type is MethodType.QLORA and spec.workers.gpus_per_node == 0:
        field = "spec.method.type"
        message = f"{field}: QLoRA computes in 4 bits on GPUs only: take LoRA, or set spec.workers.gpusPerNode"
        raise StageFailed(ExitCode.UNSUPPORTED_HARDWARE, "QLoRANeedsGpu", message, field=field)
    last = None if spec.method.adapter is None else spec.method.adapter.last_layers
    if last is not None and last > config.num_hidden_layers:
        field = "spec.method.lora.lastLayers"
        message = f"{field}: {last} blocks, the base model has {config.num_hidden_layers}"
        raise StageFailed(ExitCode.BAD_CONFIG, "TooManyLayers", message, field=field)


def target_modules(lora: LoRA | None) -> tuple[str, ...]:
    """Names of the layers that get an adapter. Raises StageFailed for one that a Mistral does not have."""
    if lora is None:
        return ()
    chosen = LINEAR_LAYERS if lora.target_modules is None else lora.target_modules
    unknown = [name for name in chosen if name not in LINEAR_LAYERS]
    if unknown:
        field = "spec.method.lora.targetModules"
        message = f"{field}: a Mistral has no layer {unknown[0]!r}; it has {', '.join(LINEAR_LAYERS)}"
        raise StageFailed(ExitCode.BAD_CONFIG, "LayerUnknown", message, field=field)
    return tuple(name for name in LINEAR_LAYERS if name in chosen)


def resolve(spec: Spec, lengths: NDArray[np.int32], *, cpuinfo: str) -> Resolved:
    """Choose for a train split with documents of these lengths. Raises StageFailed."""
    training = spec.training
    counts = num_rows(lengths, sequence_length=training.sequence_length, seed=training.seed, epochs=training.epochs)
    rows = next(counts)
    batch = training.global_batch_size or _batch_for(rows * training.epochs)
    total = num_steps(chain((rows,), counts), global_batch_size=batch, max_steps=training.max_steps)
    warmup, decay = _warmup_and_decay(training, total)
    watched = training.early_stopping is not None
    return Resolved(
        total_steps=total,
        steps_per_epoch=-(-rows // batch),
        global_batch_size=batch,
        warmup_steps=warmup,
        decay_steps=decay,
        learning_rate=training.learning_rate or LEARNING_RATES[spec.method.type],
        precision=training.precision or _precision_for(spec.workers.gpus_per_node, cpuinfo),
        target_modules=target_modules(spec.method.adapter),
        validate_every=spec.evaluation.every_steps if watched else None,
        validation_rows=spec.evaluation.max_rows if watched else None,
    )


def check_memory(spec: Spec, shape: ModelShape, resolved: Resolved | None = None) -> None:
    """Training fits into the memory that the spec gives it, if it says how much that is. Raises StageFailed.

    Without `resolved`, before the data is read, as far as is known then: a rank computes one row at least.
    """
    if resolved is None:
        precision, batch = spec.training.precision or Precision.BFLOAT16, spec.training.global_batch_size or 1
    else:
        precision, batch = resolved.precision, resolved.global_batch_size
    short = shortage(spec, shape, precision=precision, global_batch_size=batch)
    if short is not None:
        raise StageFailed(ExitCode.BAD_CONFIG, "WontFit", str(short), field=short.field)


def _batch_for(rows: int) -> int:
    """The largest power of two that leaves enough steps, 1 at least."""
    batch = LARGEST_CHOSEN_BATCH
    while batch > 1 and rows < batch * ENOUGH_STEPS:
        batch //= 2
    return batch


def _warmup_and_decay(training: Training, total_steps: int) -> tuple[int, int]:
    """Steps of the one and of the other: what is given must fit, what is chosen takes the room that is left."""
    if (training.warmup_steps or 0) > total_steps:
        field = "spec.training.warmupSteps"
        message = f"{field}: {training.warmup_steps} steps of warm-up in a run of {total_steps}"
        raise StageFailed(ExitCode.BAD_CONFIG, "WarmupTooLong", message, field=field)
    warmup = _share(total_steps, WARMUP_PERCENT) if training.warmup_steps is None else training.warmup_steps
    if training.schedule is not Schedule.WARMUP_STABLE_DECAY:
        return warmup, 0
    if training.decay_steps is None:
        return warmup, min(_share(total_steps, DECAY_PERCENT), total_steps - warmup)
    if training.decay_steps + (training.warmup_steps or 0) > total_steps:
        field = "spec.training.decaySteps"
        after = f" after {training.warmup_steps} of warm-up" if training.warmup_steps else ""
        message = f"{field}: {training.decay_steps} steps of decay{after} in a run of {total_steps}"
        raise StageFailed(ExitCode.BAD_CONFIG, "DecayTooLong", message, field=field)
    return min(warmup, total_steps - training.decay_steps), training.decay_steps


def _share(steps: int, percent: int) -> int:
    return -(-steps * percent // 100)


def _precision_for(gpus_per_node: int, cpuinfo: str) -> Precision:
    if gpus_per_node or has_native_bfloat16(cpuinfo):
        return Precision.BFLOAT16
    return Precision.FLOAT32


def has_native_bfloat16(cpuinfo: str) -> bool:
    """Whether a CPU whose /proc/cpuinfo is this computes in bfloat16; emulated, it is slower than fp32."""
    flags = {
        flag
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() in ("flags", "Features")
        for flag in line.partition(":")[2].split()
    }
    return not _NATIVE_BFLOAT16.isdisjoint(flags)


def data_digest(
    spec: Spec,
    objects: Sequence[RawObject],
    prints: Mapping[str, str],
    tokenizer_digest: str,
    *,
    benchmarks: Mapping[str, str] | None = None,
    previous_digest: str | None = None,
    libraries: Mapping[str, str] = LIBRARIES,
    format_number: int = FORMAT,
) -> str:
    """Names prepared data. `prints` and `benchmarks` hold the fingerprint of each object by its uri.

    `previous_digest` names the prepared data whose splits are kept.

    How many rows may be bad and how many must be left is checked each time; where the data is kept changes nothing.
    """
    return digest_of(
        {
            "format": format_number,
            "sources": {raw.uri: [prints[raw.uri], raw.text_document, raw.split] for raw in objects},
            "task": spec.task.of_data,
            "cleaning": spec.data.cleaning.to_json(),
            "libraries": dict(libraries),
            "deduplication": spec.data.deduplication,
            "decontamination": spec.data.decontamination.to_json() | {"benchmarks": dict(benchmarks or {})},
            "split": spec.data.split.to_json() | {"previousUri": previous_digest},
            "tokenizer": tokenizer_digest,
            "sequenceLength": spec.training.sequence_length,
            "overlong": spec.data.overlong,
        }
    )


def run_digest(
    spec: Spec, resolved: Resolved, *, model_digest: str, data_digest: str, adapter_digest: str | None = None
) -> str:
    """Names the run; `adapter_digest` is of the adapter that it goes on from.

    Equal digests: the same model comes out, on whatever machines and however often interrupted.

    Workers, ZeRO stage, memory, checkpoints and deadlines change nothing of the model; nor does what is evaluated, but
    where it decides when training ends: then `resolved` has it.
    """
    lora = spec.method.adapter
    return digest_of(
        {
            "format": RUN_FORMAT,
            "model": model_digest,
            "data": data_digest,
            "task": spec.task.to_json(),
            "method": {
                "type": spec.method.type,
                "lora": lora and lora.to_json() | {"initialAdapterUri": adapter_digest},
            },
            "training": spec.training.to_json(),
            "resolved": resolved.to_json(),
        }
    )
