"""What prepare expects of a model is what transformers computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.prepare.model.architecture import expected_tensors, read_config
from published_configs import TEXT_MODELS
from tiny_models import OF_TYPE, tiny_model


def as_transformers_has_them(folders: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Of each model the shape of each tensor, and config.json as it is saved; no weight is made."""
    import torch

    from finetune_trainer.architectures import causal_language_model

    found = {}
    for name, folder in folders.items():
        architecture = causal_language_model(Path(folder))
        config = architecture.config_class.from_pretrained(folder)
        with torch.device("meta"):
            model = architecture(config)
        config.save_pretrained(folder)
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        if config.tie_word_embeddings:
            del shapes["lm_head.weight"]
        found[name] = {"shapes": shapes, "config": json.loads((Path(folder) / "config.json").read_text())}
    return found


def test_published_models_have_the_tensors_and_the_configuration_that_transformers_gives_them(preloaded, tmp_path):
    folders = {name: tmp_path / str(number) for number, name in enumerate(TEXT_MODELS)}
    for name, content in TEXT_MODELS.items():
        folders[name].mkdir()
        (folders[name] / "config.json").write_text(json.dumps(content))
    (found,) = preloaded.run(as_transformers_has_them, folders={name: str(folder) for name, folder in folders.items()})
    for name, content in TEXT_MODELS.items():
        config = read_config(content)
        assert found[name]["shapes"] == {tensor: list(shape) for tensor, shape in expected_tensors(config).items()}
        assert read_config(found[name]["config"]) == config


def heads(folder: str) -> list[str]:
    from finetune_trainer import architectures

    path = Path(folder)
    return [architectures.causal_language_model(path).__name__, architectures.sequence_classifier(path).__name__]


@pytest.mark.parametrize("model_type", OF_TYPE)
def test_each_model_type_has_a_class_for_texts_and_one_for_labels(preloaded, tmp_path, model_type):
    (found,) = preloaded.run(heads, folder=str(tiny_model(tmp_path, model_type=model_type)))
    assert found == [f"{model_type.capitalize()}ForCausalLM", f"{model_type.capitalize()}ForSequenceClassification"]
