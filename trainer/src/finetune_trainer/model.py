"""The model to train: a Mistral from a local folder, whole or with adapters in it, below an objective's head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from finetune_api.contract import ExitCode
from finetune_api.spec import ActivationCheckpointing, AttentionKernel, Precision
from finetune_trainer import adapters, attention, quantized
from finetune_trainer.adapters import Adapter
from finetune_trainer.compilation import compile_blocks
from finetune_trainer.dropout import RowsInFlight
from finetune_trainer.failures import StageFailed
from finetune_trainer.language_head import LanguageHead
from finetune_trainer.recomputation import recompute
from finetune_trainer.tokens import Tokens
from finetune_trainer.weights import Room, Stored, Values, values_of, whole_on

DTYPES = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT32: torch.float32}


class PackedModel(nn.Module):
    """A model that answers with its summed loss, so that its head is only applied where something is learnt."""

    def __init__(self, mistral: Any, in_flight: RowsInFlight) -> None:
        """`mistral` is the transformers model, maybe with adapters inside its layers."""
        super().__init__()
        self.mistral = mistral
        self.in_flight = in_flight
        self.initial: Mapping[nn.Parameter, Callable[[], Values]] = {}
        """What each trained parameter was made of: read or drawn again by who goes back to the start."""

    def hidden(self, tokens: Tokens) -> Tensor:
        """What the blocks make of each token, [tokens, width]."""
        self.in_flight.rows = tokens.rows
        found: Tensor = self.mistral.model(
            input_ids=tokens.ids, position_ids=tokens.positions, documents=tokens.documents, use_cache=False
        ).last_hidden_state
        return found[0]


class Fp32Linear(nn.Linear):
    """Computes in fp32, whatever the precision of its weight."""

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden.float(), self.weight.float())


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands on the blocks, and what it minimises."""

    architecture: Callable[[Path], type[PreTrainedModel]]
    """Of the model in a folder."""
    peft_task: str
    module: Callable[[Any, RowsInFlight], PackedModel]
    """Made of the transformers model."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of config.json."""
    layer: str | None = None
    """A linear layer that base models lack: drawn, computed in fp32, and trained whatever the method."""
    compared: bool = False
    """Whether what it minimises is measured against the model as it was before training."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """How the model is computed, which changes speed and memory and nothing else beyond rounding."""

    attention: AttentionKernel | None = None
    """None: the fastest that is there."""
    activation_checkpointing: ActivationCheckpointing = ActivationCheckpointing.NONE
    compiled: bool = False


DEFAULT: Final = Computation()


def load_model(
    folder: Path,
    *,
    adapter: Adapter | None,
    seed: int,
    precision: Precision,
    device: torch.device,
    room: Room | None = None,
    head: Head,
    computation: Computation = DEFAULT,
) -> PackedModel:
    """The model in `folder`, of which the adapter is trained, which changes nothing yet; without one, every weight.

    A rank reads only what `room` lets it hold, by default everything. What is drawn, adapter and head, is a function of
    `seed`, whatever the ranks. All has the precision of the base model: layers of mixed precision crash under ZeRO
    (DeepSpeed #8072); the fp32 masters are the engine's. Raises StageFailed when the weights do not fit config.json.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    base = _without_weights(folder, head, precision, device, computation.attention)
    if adapter is not None and adapter.quantized:
        quantized.replace_linear_layers(base, DTYPES[precision])
    stored = Stored(sorted(folder.glob("*.safetensors")))
    names = {parameter: name for name, parameter in base.named_parameters()}
    _refuse_others(stored, names, head)
    in_flight = RowsInFlight(seed)
    if adapter is not None:
        adapters.inject(base, adapter, in_flight, compared=head.compared)
        if head.layer is not None:
            base.get_submodule(head.layer).requires_grad_()

    initial = Stored([]) if adapter is None else adapters.initial_weights(adapter, head.settings.get("id2label"))

    def values(name: str, parameter: nn.Parameter) -> Values:
        own, published = names.get(parameter), adapters.published_name(name)
        if own is not None and own in stored.shapes:
            return stored.values(own)
        if published in initial.shapes:
            return initial.values(published)
        generator = torch.Generator().manual_seed(_seed_of(seed, name))
        if own is None:
            return values_of(adapters.drawn(name, parameter.shape, generator))
        return values_of(torch.empty(parameter.shape).normal_(std=base.config.initializer_range, generator=generator))

    make = room or whole_on(device)

    made_of: dict[nn.Parameter, Callable[[], Values]] = {}

    def parameter(name: str, like: nn.Parameter) -> nn.Parameter:
        if quantized.is_quantized(like):
            return quantized.quantize(like, values(name, like), DTYPES[precision], device)
        made = make(like.to(DTYPES[precision]), values(name, like))
        if made.requires_grad:
            made_of[made] = partial(values, name, like)
        return made

    _give_weights(base, parameter)
    recompute(base, computation.activation_checkpointing, compiled=computation.compiled)
    if computation.compiled:
        compile_blocks(base)
    model = head.module(base, in_flight)
    model.initial = made_of
    return model


def _without_weights(
    folder: Path, head: Head, precision: Precision, device: torch.device, kernel: AttentionKernel | None
) -> Any:
    """The transformers model with its parameters on the meta device, and its buffers, which are computed, in place."""

    def leave_out(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        # What is there already is tied to another layer.
        return None if parameter.is_meta else nn.Parameter(parameter.to("meta"))

    architecture: Any = head.architecture(folder)
    config = architecture.config_class.from_pretrained(folder, local_files_only=True, **head.settings)
    windowed = getattr(config, "sliding_window", None) is not None
    implementation = attention.implementation(kernel, device=device, dtype=DTYPES[precision], windowed=windowed)
    # Typed as if it returned nothing; what it returns is registered.
    hook = register_module_parameter_registration_hook(cast("Callable[..., None]", leave_out))
    try:
        with device:
            base = architecture._from_config(config, dtype=DTYPES[precision], attn_implementation=implementation)
            if (linear := base.get_output_embeddings()) is not None:
                base.set_output_embeddings(LanguageHead.of(linear))
            if head.layer is not None:
                drawn = base.get_submodule(head.layer)
                base.set_submodule(head.layer, Fp32Linear(drawn.in_features, drawn.out_features, bias=False))
    finally:
        hook.remove()
    return base.eval()


def _refuse_others(stored: Stored, expected: Mapping[nn.Parameter, str], head: Head) -> None:
    """Raises StageFailed unless all is there, and has its shape."""
    drawn = {f"{head.layer}.weight"} - stored.shapes.keys()
    missing = sorted(
        name for parameter, name in expected.items() if name not in drawn and stored.shapes.get(name) != parameter.shape
    )
    if missing:
        raise StageFailed(
            ExitCode.MISMATCH,
            "WeightsDoNotFit",
            f"the weights lack or misshape {len(missing)} tensors that config.json asks for, such as {missing[0]}",
            field="spec.model.uri",
        )


def _give_weights(base: nn.Module, make: Callable[[str, nn.Parameter], nn.Parameter]) -> None:
    """Put parameters with values where there are some without; those of tied layers stay one."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for path, module in base.named_modules():
        for name, like in module.named_parameters(recurse=False):
            if like not in made:
                made[like] = make(f"{path}.{name}", like)
            setattr(module, name, made[like])


def _seed_of(seed: int, name: str) -> int:
    """Another for each parameter, so that none depends on which others there are."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)[0])
