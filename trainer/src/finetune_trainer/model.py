"""The model to train: a Mistral from a local folder with LoRA on it, below the head that an objective gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from finetune_api.contract import ExitCode
from finetune_api.spec import LoRA, Precision
from finetune_trainer import attention
from finetune_trainer.dropout import RowDropout, RowsInFlight
from finetune_trainer.failures import StageFailed
from finetune_trainer.tokens import Tokens

DTYPES = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT32: torch.float32}


class PackedModel(nn.Module):
    """A model that answers with its summed loss, so that its head is only applied where something is learnt."""

    def __init__(self, model: PeftModel, in_flight: RowsInFlight) -> None:
        super().__init__()
        self.model = model
        self.in_flight = in_flight

    @property
    def mistral(self) -> Any:
        """The base model, with the adapters inside its layers."""
        return self.model.get_base_model()

    def hidden(self, tokens: Tokens) -> Tensor:
        """What the blocks make of each token, [tokens, width]."""
        self.in_flight.rows = tokens.rows
        found: Tensor = self.mistral.model(
            input_ids=tokens.ids, position_ids=tokens.positions, documents=tokens.documents, use_cache=False
        ).last_hidden_state
        return found[0]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands on the blocks, and what it minimises."""

    architecture: Callable[[Path], type[PreTrainedModel]]
    """Of the model in a folder."""
    peft_task: str
    module: Callable[[PeftModel, RowsInFlight], PackedModel]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of config.json."""
    start: Callable[[Any, set[str]], set[str]] = lambda _, missing: missing
    """Draws the weights that no base model has. Given those that this one lacks; returns those that it should have."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What is trained."""

    lora: LoRA
    target_modules: tuple[str, ...]
    seed: int


def load_model(
    folder: Path,
    *,
    adapter: Adapter,
    precision: Precision,
    activation_checkpointing: bool,
    device: torch.device,
    head: Head,
) -> PackedModel:
    """Read the safetensors in `folder`, from nowhere else, and add an adapter that changes nothing yet.

    The adapter's weights, and those of a new head, are a function of `adapter.seed`. They have the precision of the
    base model: layers of mixed precision crash under ZeRO (DeepSpeed #8072); the fp32 masters are the engine's. Raises
    StageFailed when the weights do not fit config.json.
    """
    attention.register()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    loaded: Any = head.architecture(folder).from_pretrained(
        folder,
        dtype=DTYPES[precision],
        attn_implementation=attention.IMPLEMENTATION,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        # Straight to the GPU: eight processes with a copy in host memory each would need eight times the model.
        device_map={"": device} if device.type == "cuda" else None,
        **head.settings,
    )
    base, report = loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(adapter.seed)
        lacking = head.start(base, set(report["missing_keys"]))
    if missing := sorted({*lacking, *(key for key, *_ in report["mismatched_keys"])}):
        raise StageFailed(
            ExitCode.MISMATCH,
            "WeightsDoNotFit",
            f"the weights lack or misshape {len(missing)} tensors that config.json asks for, such as {missing[0]}",
            field="spec.model.uri",
        )
    if activation_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    settings = LoraConfig(
        task_type=head.peft_task,
        r=adapter.lora.rank,
        lora_alpha=adapter.lora.alpha,
        target_modules=list(adapter.target_modules),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(adapter.seed)
        model = get_peft_model(base, settings, autocast_adapter_dtype=False)
    in_flight = RowsInFlight(adapter.seed)
    if adapter.lora.dropout:
        _set_dropout(model, adapter.lora.dropout, in_flight)
    return head.module(model, in_flight)


def _set_dropout(model: PeftModel, probability: float, in_flight: RowsInFlight) -> None:
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for index, layer in enumerate(layers):
        for name in layer.lora_A:
            layer.lora_dropout[name] = RowDropout(probability, index, in_flight)
