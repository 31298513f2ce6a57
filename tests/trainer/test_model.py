import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from encoded import Encoded
from finetune_api.spec import LoRA
from finetune_trainer.prepare.model.adapter import expected_adapter
from finetune_trainer.prepare.model.architecture import read_config
from tiny_models import tiny_model


def loaded(folder: str, seed: int = 0, precision: str = "BFloat16", modules: tuple[str, ...] = ("q_proj",)) -> Any:
    """The trainable parameters and the loss before training, or how loading failed."""
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter, as_it_began
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    try:
        model = load_model(
            Path(folder),
            adapter=Adapter(lora=LoRA(rank=4, alpha=8), target_modules=tuple(modules)),
            seed=seed,
            precision=Precision(precision),
            device=torch.device("cpu"),
            head=language.HEAD,
        )
    except StageFailed as failure:
        return {"code": failure.exit_code, "failure": failure.failure.to_json()}
    tokens = tokens_of(Encoded.random([30], vocab_size=200), [PlacedRow(0, (0,))], torch.device("cpu"))
    with torch.no_grad():
        loss = float(model(tokens))
        with as_it_began(model):
            base_loss = float(model(tokens))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {
        "shapes": {name: list(parameter.shape) for name, parameter in trained.items()},
        "dtypes": sorted({str(parameter.dtype) for parameter in model.parameters()}),
        "sum": sum(float(parameter.float().abs().sum()) for parameter in trained.values()),
        "losses": [loss, base_loss],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def test_only_the_adapter_of_the_chosen_layers_is_trained_and_all_has_one_precision(preloaded, folder):
    (answer,) = preloaded.run(loaded, folder=str(folder), modules=["v_proj"])
    block = "mistral.model.layers.{}.self_attn.v_proj.lora_{}.default.weight"
    assert answer["shapes"] == {
        **{block.format(layer, "A"): [4, 32] for layer in (0, 1)},
        **{block.format(layer, "B"): [16, 4] for layer in (0, 1)},
    }
    assert answer["dtypes"] == ["torch.bfloat16"]


def test_a_fresh_adapter_changes_nothing(preloaded, folder):
    (answer,) = preloaded.run(loaded, folder=str(folder))
    assert answer["losses"][0] == answer["losses"][1]


def test_the_seed_alone_decides_the_fresh_adapter(preloaded, folder):
    sums = [preloaded.run(loaded, folder=str(folder), seed=seed)[0]["sum"] for seed in (1, 1, 2)]
    assert sums[0] == sums[1] != sums[2]


def test_weights_that_do_not_fit_are_refused_and_never_filled_with_noise(preloaded, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    (answer,) = preloaded.run(loaded, folder=str(folder))
    assert answer["code"] == 65
    assert answer["failure"] == {
        "reason": "WeightsDoNotFit",
        "message": "the weights lack or misshape 9 tensors that config.json asks for, "
        "such as model.layers.2.input_layernorm.weight",
        "field": "spec.model.uri",
        "places": [],
    }


def going_on(folder: str, adapter: str, labels: list[str] | None = None) -> Any:
    """Values of the trained parameters of a model that goes on from an adapter, or how loading failed."""
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.measures import LabelSet
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import classification, language

    head = language.HEAD
    if labels is not None:
        head = classification.head(LabelSet(tuple(labels), (1,) * len(labels), 9, False), balanced=False, pad_id=2)
    try:
        model = load_model(
            Path(folder),
            adapter=Adapter(lora=LoRA(rank=4, alpha=8), target_modules=("q_proj",), initial=Path(adapter)),
            seed=0,
            precision=Precision.FLOAT32,
            device=torch.device("cpu"),
            head=head,
        )
    except StageFailed as failure:
        return [failure.exit_code, failure.failure.field]
    return sorted({float(value) for p in model.parameters() if p.requires_grad for value in p.flatten()})


def test_training_goes_on_from_the_weights_of_an_adapter_and_from_its_head_if_it_tells_the_same(
    preloaded, folder, tmp_path
):
    shapes = expected_adapter(
        read_config(json.loads((folder / "config.json").read_text())), LoRA(rank=4, alpha=8), ("q_proj",)
    )
    tensors = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file(tensors, adapter / "adapter_model.safetensors")
    assert preloaded.run(going_on, folder=str(folder), adapter=str(adapter))[0] == [0.5]

    tensors["base_model.model.score.weight"] = np.full((2, 32), 0.25, np.float32)
    save_file(tensors, adapter / "adapter_model.safetensors")
    (adapter / "config.json").write_text(json.dumps({"id2label": {"0": "ham", "1": "spam"}}))
    asked = {"folder": str(folder), "adapter": str(adapter)}
    assert preloaded.run(going_on, **asked, labels=["ham", "spam"])[0] == [0.25, 0.5]
    refused = [65, "spec.method.lora.initialAdapterUri"]
    assert preloaded.run(going_on, **asked, labels=["spam", "ham"])[0] == refused
