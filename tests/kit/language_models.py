"""A model that answers with its language loss, for calls inside forked ranks."""

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
