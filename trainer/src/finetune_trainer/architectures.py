"""The classes of transformers that compute a model: its own by model_type, never any code that comes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import transformers
from transformers.modeling_utils import PreTrainedModel

_FAMILIES: Final = {"mistral": "Mistral", "ministral": "Ministral", "ministral3": "Ministral3"}
"""By model_type; those that prepare lets pass."""


def causal_language_model(folder: Path) -> type[PreTrainedModel]:
    """Of the model in `folder`."""
    return _class(folder, "ForCausalLM")


def sequence_classifier(folder: Path) -> type[PreTrainedModel]:
    """Of the model in `folder`."""
    return _class(folder, "ForSequenceClassification")


def _class(folder: Path, purpose: str) -> type[PreTrainedModel]:
    family = _FAMILIES[json.loads((folder / "config.json").read_text())["model_type"]]
    # Asked for by name: transformers imports only the one that is.
    found: type[PreTrainedModel] = getattr(transformers, f"{family}{purpose}")
    return found
