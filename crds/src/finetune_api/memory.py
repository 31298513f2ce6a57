"""How much memory each process of a training gang takes, component by component, and what is chosen so that it fits.

Sizes are of what is really kept: weights and states as DeepSpeed 0.19 divides them, activations as autograd saves them
of transformers' Mistral. Letters as in the formulas below: P parameters, T those of them that are trained, W processes,
b bytes of a weight (bf16: 2, fp32: 4), h, q, k, m the widths of the residual stream, of all queries, of all keys, of
the feed-forward layer, r the rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from finetune_api.shape import ModelShape
from finetune_api.spec import (
    ActivationCheckpointing,
    DeepSpeed,
    Memory,
    Method,
    MethodType,
    Precision,
    Spec,
    TaskType,
)

LOGITS_AT_ONCE: Final = 1024
"""Labelled tokens projected onto the vocabulary at once: 0.5 GB of fp32 logits for the largest Mistral vocabulary."""

BUCKET_ELEMENTS: Final = 200_000_000
"""Gradients reduced at once, at most. DeepSpeed's own 5·10⁸, allocated twice, is 2 GB whatever is trained."""

GATHERED_ELEMENTS: Final = 500_000_000
"""Weights that ZeRO 3 holds whole at once, at most: two blocks of the largest Mistral; DeepSpeed's own is 10⁹."""

_BYTES: Final = {Precision.BFLOAT16: 2, Precision.FLOAT32: 4}
_FP32: Final = 4
_NF4_BYTES: Final = 0.5 + 0.127 / 8
"""4 bits, and 0.127 more for the constants of blocks of 64, quantized themselves (arXiv 2305.14314 §3)."""
_GIB: Final = 1 << 30
PROCESS: Final = _GIB * 3 // 4
"""Of an interpreter with PyTorch, transformers and DeepSpeed in it, measured; on a GPU the like is the CUDA context."""
GPU_CONTEXT: Final = _GIB
"""CUDA context, kernels, cuBLAS's workspace, NCCL's channels. Not measured by us."""
_FRAGMENTED: Final = 0.05
"""Of what comes and goes: lost between blocks of PyTorch's caching allocator. Not measured by us."""
LARGEST_MICRO_BATCH: Final = 64
"""GPUs are busy long before."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, and by how many."""

    shape: ModelShape
    method: Method
    target_modules: tuple[str, ...]
    """Linear layers with an adapter."""
    precision: Precision
    sequence_length: int
    world_size: int
    """Processes: GPUs, or nodes without one."""
    gpu: bool
    has_vocabulary_head: bool
    """Of Classification it is a handful of labels instead."""
    has_reference: bool = False
    """Of Preference: documents are two linked sequences, and pass once more forward through the model as it began."""

    @classmethod
    def of(cls, spec: Spec, shape: ModelShape, precision: Precision) -> Training:
        workers, adapter = spec.workers, spec.method.adapter
        every = tuple(shape.linear_layers)
        return cls(
            shape=shape,
            method=spec.method,
            target_modules=() if adapter is None else adapter.target_modules or every,
            precision=precision,
            sequence_length=spec.training.sequence_length,
            world_size=workers.nodes * max(1, workers.gpus_per_node),
            gpu=workers.gpus_per_node > 0,
            has_vocabulary_head=spec.task.type is not TaskType.CLASSIFICATION,
            has_reference=spec.task.type is TaskType.PREFERENCE,
        )

    @property
    def weight_bytes(self) -> int:
        """Of one weight, and of one activation."""
        return _BYTES[self.precision]

    @property
    def base_parameters(self) -> int:
        """Of the base model, without the head where another takes its place."""
        drops_head = not self.has_vocabulary_head and not self.shape.tie_word_embeddings
        return self.shape.parameters - drops_head * self.shape.head_parameters

    @property
    def trained_layers(self) -> int:
        """Blocks that the backward pass goes through: from the first with something to train on."""
        layers = self.shape.num_hidden_layers
        adapter = self.method.adapter
        return layers if adapter is None else min(layers, adapter.last_layers or layers)

    @property
    def adapter_parameters(self) -> int:
        adapter = self.method.adapter
        if adapter is None:
            return 0
        return self.shape.adapter_parameters(adapter.rank, self.target_modules, self.trained_layers)

    @property
    def reference_parameters(self) -> int:
        """Of the frozen copy of the adapter that training goes on from, where it is compared with that."""
        adapter = self.method.adapter
        goes_on = adapter is not None and adapter.initial_adapter_uri is not None
        return self.adapter_parameters if self.has_reference and goes_on else 0

    @property
    def trained_parameters(self) -> int:
        return self.adapter_parameters or self.base_parameters


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How the work is divided, and what is kept of it. None of this changes the outcome."""

    zero_stage: int
    """1 | 2 | 3"""
    micro_batch_size: int
    """Packed rows in one forward pass."""
    activation_checkpointing: ActivationCheckpointing = ActivationCheckpointing.NONE


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes of one process at its peak, which is a backward pass or, of small batches, the optimizer's step."""

    weights: int
    """Of the base model, or this process's part of them."""
    adapter: int
    """Of LoRA, with the frozen copy that Preference compares with."""
    gradients: int
    """Accumulated over the micro batches, in fp32."""
    optimizer: int
    """Masters and both moments of AdamW, in fp32: this process's part."""
    buffers: int
    """Gradients on their way, and weights that ZeRO 3 gathers."""
    activations: int
    """What the backward pass needs of the forward pass."""
    logits: int
    """The head's, of as many tokens as are projected at once."""
    working: int
    """What comes and goes with one block, or with the optimizer's step where that is more."""
    checkpoint: int
    """The copy that a checkpoint is written from; of GPUs it lies in the memory of their pod."""
    overhead: int
    """Of the process itself, and lost between allocations."""

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def estimate(training: Training, choice: Choice) -> Estimate:
    """What a process of this training takes when the work is divided so.

    A reference's pass is over before anything is kept for the way back, so that the peak does not rise by it.
    """
    shape, size = training.shape, training.weight_bytes
    weights, adapter = _weights(training, choice.zero_stage)
    gradients, optimizer, buffers = _states(training, choice.zero_stage)
    tokens = choice.micro_batch_size * training.sequence_length
    activations, block = _activations(training, choice.activation_checkpointing)
    # Probabilities in fp32, their gradient in the weights' type; of a trained head its gradient, summed up in fp32.
    at_once = min(tokens, LOGITS_AT_ONCE) if training.has_vocabulary_head else 0
    logits = at_once * shape.vocab_size * (_FP32 + size)
    whole_gradient = 0 if training.adapter_parameters else shape.head_parameters * (_FP32 + size)
    passing = tokens * (activations + block) + logits + whole_gradient
    # By then the activations are gone: fp32 gradients of this process's part, copied to be clipped.
    stepping = _FP32 * training.trained_parameters // training.world_size
    working = tokens * block + whole_gradient + max(0, stepping - passing)
    comes_and_goes = tokens * activations + logits + working + buffers
    return Estimate(
        weights=weights,
        adapter=adapter,
        gradients=gradients,
        optimizer=optimizer,
        buffers=buffers,
        activations=tokens * activations,
        logits=logits,
        working=working,
        checkpoint=0 if training.gpu else checkpoint_copy(training),
        overhead=GPU_CONTEXT + int(_FRAGMENTED * comes_and_goes) if training.gpu else PROCESS,
    )


def checkpoint_copy(training: Training) -> int:
    """Bytes that a process copies to write a checkpoint from, as many as its shard has: masters and moments, 12·T/W."""
    return 3 * _FP32 * training.trained_parameters // training.world_size


def choose(
    training: Training,
    *,
    memory: Memory,
    deepspeed: DeepSpeed,
    available: int,
    share: int,
    limit: int | None = None,
) -> Choice | None:
    """What fits into `available` bytes, with the largest batch: what costs least comes first.

    Dividing the weights (ZeRO 3) sends them to every GPU three times a micro batch, so it comes last. Recomputing whole
    blocks costs a quarter of each step, dividing the gradients (ZeRO 2) next to nothing, so before it recomputation is
    spared first, and of its two stages the smaller is taken that fits. What the spec says is kept. `share` is a rank's
    part of the global batch in rows, of which more would be dummies; `limit` is known not to be exceeded without
    running out of memory. None when nothing fits.
    """
    asked = memory.micro_batch_size or LARGEST_MICRO_BATCH
    largest = max(1, min(asked, share, limit or asked))
    smallest = largest if memory.micro_batch_size else 1
    for choice in _choices(memory, deepspeed, training.method.type, smallest):
        if estimate(training, choice).total <= available:
            fitting = _largest_batch(training, choice, largest, available)
            # As many passes, but all of them alike: passes of 3 and 1 rows are better of 2 and 2.
            even = -(-share // -(-share // fitting))
            return replace(choice, micro_batch_size=max(smallest, min(fitting, even)))
    return None


def least(training: Training, *, memory: Memory, deepspeed: DeepSpeed, share: int) -> Choice:
    """Of what the spec allows, that which takes the least memory."""
    batch = min(memory.micro_batch_size or 1, share)
    choices = _choices(memory, deepspeed, training.method.type, batch)
    return min(choices, key=lambda choice: estimate(training, choice).total)


def _choices(memory: Memory, deepspeed: DeepSpeed, method: MethodType, micro_batch_size: int) -> Iterator[Choice]:
    """In the order in which they are preferred."""
    # Weights in 4 bits cannot be divided.
    stages = ((1, 2),) if method is MethodType.QLORA else ((1, 2), (3,))
    ways = (ActivationCheckpointing.NONE, ActivationCheckpointing.SELECTIVE, ActivationCheckpointing.FULL)
    for alike in stages if deepspeed.zero_stage is None else ((deepspeed.zero_stage,),):
        for way in ways if memory.activation_checkpointing is None else (memory.activation_checkpointing,):
            for stage in alike:
                yield Choice(zero_stage=stage, activation_checkpointing=way, micro_batch_size=micro_batch_size)


def _largest_batch(training: Training, choice: Choice, largest: int, available: int) -> int:
    sizes = range(largest, choice.micro_batch_size, -1)
    larger = (replace(choice, micro_batch_size=size) for size in sizes)
    found = next((each for each in larger if estimate(training, each).total <= available), choice)
    return found.micro_batch_size


def _weights(training: Training, zero_stage: int) -> tuple[int, int]:
    """(base model, adapter). b·P, over W with ZeRO 3, which divides what is frozen, too (arXiv 1910.02054 §5).

    It keeps whole what has no more than 10⁵ elements (stage3_param_persistence_threshold), as most adapters do.
    """
    shape, size = training.shape, training.weight_bytes
    base = size * training.base_parameters
    if training.method.type is MethodType.QLORA:
        base -= int((size - _NF4_BYTES) * shape.num_hidden_layers * shape.block_matrices)
    adapters = training.adapter_parameters + training.reference_parameters
    return base // (training.world_size if zero_stage == 3 else 1), size * adapters


def _states(training: Training, zero_stage: int) -> tuple[int, int, int]:
    """(gradients, optimizer, buffers).

    Masters and two moments are 12·T/W at every stage. Gradients: ZeRO 1 accumulates 4·T, in bf16 beside 2·T of the
    pass that is under way (DeepSpeed's BF16_Optimizer, without immediate_grad_update), ZeRO 2 and 3 4·T/W. Buffers:
    ZeRO 1 reduces fp32 gradients bucket by bucket, ZeRO 2 fills two buckets in turn while a GPU computes, ZeRO 3 one,
    beside the weights it gathers.
    """
    trained, size, world_size = training.trained_parameters, training.weight_bytes, training.world_size
    optimizer = checkpoint_copy(training)
    bucket = min(trained, BUCKET_ELEMENTS)
    match zero_stage:
        case 1:
            under_way = size if training.precision is Precision.BFLOAT16 else 0
            return (_FP32 + under_way) * trained, optimizer, _FP32 * bucket
        case 2:
            return _FP32 * trained // world_size, optimizer, (2 if training.gpu else 1) * size * bucket
        case _:
            # One matrix is always whole, be it the embedding.
            most = max(GATHERED_ELEMENTS, training.shape.head_parameters)
            gathered = min(training.base_parameters, most) if world_size > 1 else 0
            return _FP32 * trained // world_size, optimizer, size * (bucket + gathered)


def _activations(training: Training, checkpointing: ActivationCheckpointing) -> tuple[int, int]:
    """Bytes a token: (kept between the passes, in use while one block is gone back through).

    Full keeps the input of each block, b·h; Selective with it the outputs of the products with frozen or full weights
    and of attention, b·(3h + 2q + 2k + 2m), and r numbers of each adapter. Both have all of one block again while its
    backward pass lasts. That takes gradients of the feed-forward layer, 3·b·m, and of the stream, 2·b·h.
    """
    shape, size = training.shape, training.weight_bytes
    hidden, inner = shape.hidden_size, shape.intermediate_size
    whole = _block_activations(training)
    # The last norm's input and output, that of labelled tokens once more, and its gradient.
    head = (_FP32 + 3 * size) * hidden
    passing = size * (3 * inner + 2 * hidden)
    match checkpointing:
        case ActivationCheckpointing.NONE:
            kept, again = whole, 0
        case ActivationCheckpointing.SELECTIVE:
            products = 3 * hidden + 2 * shape.query_size + 2 * shape.key_size + 2 * inner
            narrow = 0 if training.method.adapter is None else training.method.adapter.rank
            kept = size * (products + narrow * len(training.target_modules)) + _FP32 * shape.num_attention_heads
            again = max(0, whole - kept)
        case ActivationCheckpointing.FULL:
            kept, again = size * hidden, whole
    return training.trained_layers * kept + head, again + passing


def _block_activations(training: Training) -> int:
    """Bytes a token of what autograd saves of one block of transformers' Mistral.

    Norms: their inputs in fp32, 2·4·h, with trained weights also what they scale, 2·b·h. Attention: queries, keys,
    values, the output and, in fp32, a logarithm for each head, b·(2q + 2k) + 4·heads; b is 4 on CPU, where it computes
    in fp32. Feed-forward: gate, its activation and up, 3·b·m. Each linear layer saves its input when its weight is
    trained or has an adapter: once for all that share it, but with dropout one each, beside its mask. An adapter
    saves r numbers.
    """
    shape, size, adapter = training.shape, training.weight_bytes, training.method.adapter
    hidden, queries, keys = shape.hidden_size, shape.query_size, shape.key_size
    in_attention = size if training.gpu else _FP32
    saved = 2 * _FP32 * (hidden + 1)
    saved += in_attention * (2 * queries + 2 * keys) + _FP32 * shape.num_attention_heads
    saved += 3 * size * shape.intermediate_size
    inputs = {name: inputs for name, (inputs, _) in shape.linear_layers.items()}
    if adapter is None:
        # That of o_proj is attention's output.
        return saved + size * (2 * hidden + 2 * hidden + inputs["down_proj"])
    chosen = set(training.target_modules)
    saved += size * adapter.rank * len(chosen)
    if adapter.dropout:
        return saved + 2 * size * sum(inputs[name] for name in chosen)
    saved += size * hidden * bool(chosen & {"q_proj", "k_proj", "v_proj"})
    saved += size * hidden * bool(chosen & {"gate_proj", "up_proj"})
    return saved + size * inputs["down_proj"] * ("down_proj" in chosen)
