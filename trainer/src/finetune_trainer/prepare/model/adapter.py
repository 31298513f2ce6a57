"""The tensors of an adapter on a base model, called as PEFT calls them in adapter_model.safetensors. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from finetune_api.spec import LoRA
from finetune_trainer.prepare.model.architecture import ModelConfig, expected_tensors

PREFIX: Final = "base_model.model."
WEIGHTS_FILE: Final = "adapter_model.safetensors"
CONFIG_FILE: Final = "adapter_config.json"


def adapted_layers(config: ModelConfig, lora: LoRA, target_modules: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that gets an adapter."""
    first = config.num_hidden_layers - (lora.last_layers or config.num_hidden_layers)
    found = {}
    for name, shape in expected_tensors(config).items():
        parts = name.split(".")
        if parts[-2] in target_modules and int(parts[2]) >= first:
            found[name] = shape
    return found


def expected_adapter(config: ModelConfig, lora: LoRA, target_modules: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor: of each adapted layer [rank, inputs] and [outputs, rank]."""
    tensors: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in adapted_layers(config, lora, target_modules).items():
        down, up = keys_of(name)
        tensors |= {down: (lora.rank, inputs), up: (outputs, lora.rank)}
    return tensors


def keys_of(weight: str) -> tuple[str, str]:
    """Of the two factors that are added to this weight of the base model."""
    layer = PREFIX + weight.removesuffix(".weight")
    return f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
