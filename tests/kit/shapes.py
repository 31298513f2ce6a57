"""Shapes of models as they are published, and trainings of them."""

from __future__ import annotations

from typing import Any, Final

from finetune_api.memory import Training
from finetune_api.shape import ModelShape
from finetune_api.spec import LoRA, Method, MethodType, Precision

SEVEN_BILLION: Final = ModelShape(
    vocab_size=32768,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
)
"""Mistral 7B v0.3."""

LORA: Final = Method(lora=LoRA(rank=16))
QLORA: Final = Method(type=MethodType.QLORA, lora=LoRA(rank=16))
FULL: Final = Method(type=MethodType.FULL)


def a_training(method: Method = LORA, **changes: Any) -> Training:
    """Rows of 4,096 tokens in bf16 on one GPU, an adapter on every linear layer."""
    given: dict[str, Any] = {
        "shape": SEVEN_BILLION,
        "method": method,
        "target_modules": tuple(SEVEN_BILLION.linear_layers) if method.adapter else (),
        "precision": Precision.BFLOAT16,
        "sequence_length": 4096,
        "world_size": 1,
        "gpu": True,
        "has_vocabulary_head": True,
    }
    return Training(**given | changes)
