"""Low-rank adapters in the linear layers of a model: put in, switched off, and called as PEFT calls them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from finetune_api.contract import ExitCode
from finetune_api.spec import LoRA
from finetune_trainer.dropout import RowDropout, RowsInFlight
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.model.adapter import WEIGHTS_FILE
from finetune_trainer.prepare.model.initial import FIELD, HEAD
from finetune_trainer.weights import Stored

NAME: Final = "default"
"""Of the adapter that is trained, within PEFT."""
BEFORE: Final = "before"
"""Of a frozen copy of the adapter that training goes on from, where what is learnt is compared with it."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What is trained of a model whose own weights stay."""

    lora: LoRA
    target_modules: tuple[str, ...]
    quantized: bool = False
    """Beside weights in 4 bits."""
    initial: Path | None = None
    """Folder of an adapter to go on from; None: a new one."""


def configuration(adapter: Adapter, num_layers: int) -> LoraConfig:
    """adapter_config.json, but for what names the base model and the task."""
    last = adapter.lora.last_layers
    return LoraConfig(
        r=adapter.lora.rank,
        lora_alpha=adapter.lora.alpha,
        use_rslora=adapter.lora.rank_stabilized,
        target_modules=list(adapter.target_modules),
        layers_to_transform=None if last is None else list(range(num_layers - last, num_layers)),
        layers_pattern=None if last is None else "layers",
    )


def inject(model: Any, adapter: Adapter, in_flight: RowsInFlight, *, compared: bool) -> None:
    """Add adapters without values to a model on the meta device; nothing else of it is trained from now on.

    `compared`: whether `as_it_began` will be asked for.
    """
    settings = configuration(adapter, model.config.num_hidden_layers)
    if compared and adapter.initial is not None:
        frozen = replace(settings, inference_mode=True)
        inject_adapter_in_model(frozen, model, adapter_name=BEFORE, low_cpu_mem_usage=True)
    # What PEFT was given last is what it computes with.
    inject_adapter_in_model(settings, model, adapter_name=NAME, low_cpu_mem_usage=True)
    if adapter.lora.dropout:
        for index, layer in enumerate(_layers(model)):
            layer.lora_dropout[NAME] = RowDropout(adapter.lora.dropout, index, in_flight)


def drawn(parameter_name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """What an adapter's weights start as, fp32: A as `nn.Linear` starts, B zero, so that nothing changes yet."""
    if ".lora_B." in parameter_name:
        return torch.zeros(shape)
    bound = 1 / math.sqrt(shape[1])
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def initial_weights(adapter: Adapter, labels: Mapping[int, str] | None) -> Stored:
    """Of the adapter to go on from, if there is one. Raises StageFailed when its head tells other labels."""
    if adapter.initial is None:
        return Stored([])
    stored = Stored([adapter.initial / WEIGHTS_FILE])
    config = adapter.initial / "config.json"
    if HEAD in stored.shapes:
        found = json.loads(config.read_text("utf-8")).get("id2label") if config.exists() else None
        if found != {str(number): name for number, name in (labels or {}).items()}:
            raise StageFailed(
                ExitCode.MISMATCH,
                "AdapterMismatch",
                f"{FIELD}: the adapter tells the labels {found}, this job's are {labels}: go on from another one",
                field=FIELD,
            )
    return stored


def published_name(parameter_name: str) -> str:
    """The key in adapter_model.safetensors of an adapter's parameter, or of another trained one."""
    return f"base_model.model.{parameter_name.replace(f'.{NAME}.', '.').replace(f'.{BEFORE}.', '.')}"


@contextmanager
def as_it_began(model: nn.Module) -> Iterator[None]:
    """The model before training: without its adapters, or with the frozen copy of the one that it goes on from."""
    # PEFT's own switches would also say of the weights that they are not trained, to whoever divides them among ranks.
    for layer in _layers(model):
        layer._active_adapter = BEFORE
        layer._disable_adapters = BEFORE not in layer.lora_A
    try:
        yield
    finally:
        for layer in _layers(model):
            layer._active_adapter = NAME
            layer._disable_adapters = False


def _layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]
