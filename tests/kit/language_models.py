"""Models that answer with their language loss, for calls inside forked ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_language_model(folder: str) -> Any:
    """With an adapter, in fp32, on this machine's CPU."""
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives.language import HEAD

    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4, alpha=8, dropout=0.5), target_modules=("q_proj", "down_proj")),
        seed=3,
        precision=Precision.FLOAT32,
        device=torch.device("cpu"),
        head=HEAD,
    )
    for parameter in model.parameters():  # weights that do more than a fresh model's
        if parameter.dim() > 1:
            parameter.data *= 8
    return model


def language_engine(folder: str, gang: Any, *, zero_stage: int, method: str = "Full", recomputed: bool = False) -> Any:
    """In fp32, one row a pass and a step; of LoRA every linear layer has an adapter."""
    from finetune_api.spec import ActivationCheckpointing, LoRA, Precision, Training
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives.language import HEAD

    settings: Any = {
        "training": Training(),
        "precision": Precision.FLOAT32,
        "division": Division(zero_stage=zero_stage, micro_batch_size=1, micro_steps=1),
    }
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    recompute = ActivationCheckpointing.FULL if recomputed else ActivationCheckpointing.NONE
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4), target_modules=modules) if method == "LoRA" else None,
        seed=0,
        precision=Precision.FLOAT32,
        computation=Computation(activation_checkpointing=recompute),
        device=gang.device,
        room=room_of(gang, **settings),
        head=HEAD,
    )
    engine = make_engine(model, gang, **settings)
    engine.train()
    return engine
