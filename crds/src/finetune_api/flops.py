"""How much arithmetic an optimizer step takes, and how much of it a GPU could do in a second.

A multiplication and an addition count as two. Recomputed activations are work, but not of the model: they are counted
by `recomputed` alone, never in a model FLOPs utilisation (MFU). Frozen weights need gradients of their inputs, but none
of themselves, attention is causal and ends at a document's edge: counting either as of full fine-tuning over whole rows
flatters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

from finetune_api.memory import Training
from finetune_api.shape import ModelShape
from finetune_api.spec import ActivationCheckpointing


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Forward and backward over some documents, of the whole gang."""

    blocks: float
    """Products with the weights of the blocks."""
    attention: float
    head: float
    """Of labelled tokens only."""
    adapter: float
    reference: float
    """Once more forward, through the model as it began."""

    @property
    def total(self) -> float:
        return float(sum(getattr(self, field.name) for field in fields(self)))


def flops(training: Training, lengths: Iterable[int], *, labelled: int) -> Flops:
    """Of one pass forward and back over sequences of these lengths, `labelled` of whose tokens are learnt.

    A document is one sequence, or several linked ones.

    A token takes 2 per weight forward, 2 for the gradient of the input and 2 for that of the weight where it is
    trained; LoRA's share is 4·N + 6·N_lora. A pair of query and key takes 4·q forward, for the score and for the sum,
    and 8·q back (arXiv 2205.14135 §3.1 without its own recomputation). Blocks before the first adapter have no
    way back.
    """
    shape, lengths = training.shape, tuple(lengths)
    tokens, pairs = sum(lengths), _pairs(shape, lengths)
    back = training.trained_layers / shape.num_hidden_layers
    matrices = shape.num_hidden_layers * shape.block_matrices
    passes = 6 if training.method.adapter is None else 2 + 2 * back
    head_passes = 6 if training.method.adapter is None else 4
    head = shape.head_parameters if training.has_vocabulary_head else 0
    forward = 2 * (matrices + training.reference_parameters) * tokens + 4 * shape.query_size * pairs
    return Flops(
        blocks=float(passes * matrices * tokens),
        attention=4 * shape.query_size * pairs * (1 + 2 * back),
        head=float(head_passes * head * labelled),
        adapter=float(6 * training.adapter_parameters * tokens),
        reference=forward + 2.0 * head * labelled if training.has_reference else 0.0,
    )


def recomputed(training: Training, lengths: Iterable[int], how: ActivationCheckpointing) -> float:
    """What the backward pass does again: with Full the blocks forward, with Selective the adapters' products."""
    lengths = tuple(lengths)
    tokens = sum(lengths)
    adapter = 2.0 * training.adapter_parameters * tokens
    match how:
        case ActivationCheckpointing.NONE:
            return 0.0
        case ActivationCheckpointing.SELECTIVE:
            return adapter
        case ActivationCheckpointing.FULL:
            back = training.trained_layers / training.shape.num_hidden_layers
            attention = 4 * training.shape.query_size * _pairs(training.shape, lengths) * back
            return 2.0 * training.trained_layers * training.shape.block_matrices * tokens + attention + adapter


def _pairs(shape: ModelShape, lengths: Iterable[int]) -> float:
    """Pairs of a token and one that it sees, of all blocks together."""
    window, sliding = shape.sliding_window, shape.sliding_layers
    return float(
        sum(
            (shape.num_hidden_layers - sliding) * _seen(length, length) + sliding * _seen(length, window or length)
            for length in lengths
        )
    )


def _seen(length: int, window: int) -> float:
    """By the tokens of a document of this length, each itself and those before it, `window` at most."""
    within = min(length, window)
    return within * (within + 1) / 2 + (length - within) * window


@dataclass(frozen=True)
class Gpu:
    """What its maker says: bytes of memory, and FLOP/s of dense bf16 products with fp32 sums."""

    name: str
    memory: int
    peak: float


_GB: Final = 10**9
GPUS: Final = (
    Gpu("B200", 180 * _GB, 2.25e15),
    Gpu("H200", 141 * _GB, 989.5e12),
    Gpu("H100 PCIe", 80 * _GB, 756e12),
    Gpu("H100 NVL", 94 * _GB, 835e12),
    Gpu("H100", 80 * _GB, 989.5e12),
    Gpu("A100", 80 * _GB, 312e12),
    Gpu("L40S", 48 * _GB, 362e12),
    Gpu("L4", 24 * _GB, 121e12),
    Gpu("A10", 24 * _GB, 125e12),
    Gpu("RTX 4090", 24 * _GB, 165e12),
)
"""Of two whose names begin alike the longer comes first. Data sheets of NVIDIA, without sparsity."""


def gpu_named(device: str) -> Gpu | None:
    """The GPU that a driver calls `device`, such as `NVIDIA H100 80GB HBM3`; None for one that is not known here."""
    words = device.replace("-", " ").split()
    return next((gpu for gpu in GPUS if set(gpu.name.split()) <= set(words)), None)
