"""What the API takes memory to be, against what PyTorch and DeepSpeed hold: within a tenth."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encoded import Encoded, Pairs
from finetune_api.memory import Choice, Training, estimate
from finetune_api.spec import LoRA, Method, MethodType, Precision
from finetune_trainer.prepare.model.architecture import read_config, shape_of
from preloaded import Preloaded
from tiny_models import tiny_model

TOKENS = 256
METHODS = {
    "Full": Method(type=MethodType.FULL),
    "LoRA": Method(lora=LoRA(rank=8)),
    "LoRA with dropout": Method(lora=LoRA(rank=8, dropout=0.1)),
}
HELD = (
    # ZeRO 3 patches torch's linear layers for the rest of the process, so it comes last.
    (1, "Full", Precision.BFLOAT16),
    (1, "LoRA", Precision.FLOAT32),
    (2, "Full", Precision.FLOAT32),
    (2, "LoRA", Precision.BFLOAT16),
    (3, "Full", Precision.BFLOAT16),
    (3, "LoRA", Precision.FLOAT32),
)


def a_training(folder: Path, method: str, precision: Precision, world_size: int = 1) -> Training:
    shape = shape_of(read_config(json.loads((folder / "config.json").read_text())))
    chosen = METHODS[method]
    return Training(
        shape=shape,
        method=chosen,
        target_modules=tuple(shape.linear_layers) if chosen.adapter else (),
        precision=precision,
        sequence_length=TOKENS,
        world_size=world_size,
        gpu=False,
        has_vocabulary_head=True,
    )


def a_choice(zero_stage: int = 2) -> Choice:
    return Choice(zero_stage=zero_stage, micro_batch_size=1)


def _loaded(folder: str, method: str, precision: str, room: Any = None, head: Any = None) -> Any:
    import torch

    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language

    training = a_training(Path(folder), method, Precision(precision))
    lora = training.method.adapter
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=lora, target_modules=training.target_modules) if lora else None,
        seed=3,
        precision=training.precision,
        device=torch.device("cpu"),
        room=room,
        head=head or language.HEAD,
    )
    model.train()
    return model


def saved(folder: str) -> list[list[Any]]:
    """Bytes that autograd keeps of a forward pass through the blocks, of each method and precision."""
    return [[method, precision, _saved(folder, method, precision)] for method in METHODS for precision in Precision]


def _saved(folder: str, method: str, precision: str) -> int:
    model = _loaded(folder, method, precision)
    return _kept(model, model.hidden, Encoded.random([TOKENS], vocab_size=200))


def saved_by_losses(folder: str) -> list[int]:
    """Bytes that autograd keeps of a forward pass with its loss: of language, and of what is preferred."""
    from finetune_trainer.objectives import language, preference

    pairs = Pairs.random([TOKENS], vocab_size=200)
    models = [_loaded(folder, "LoRA", "Float32", head=head) for head in (language.HEAD, preference.head(0.1))]
    return [_kept(model, model, pairs) for model in models]


def _kept(model: Any, forward: Callable[[Any], Any], documents: Encoded) -> int:
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens = tokens_of(documents, [PlacedRow(0, (0,))], torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(tokens)
    return sum(storage.nbytes() for storage in kept.values())


def test_activations_are_what_autograd_saves(preloaded: Preloaded, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, hidden_size=128, num_layers=6)
    (found,) = preloaded.run(saved, folder=str(folder))
    expected = [
        [method, precision, estimate(a_training(folder, method, precision), a_choice()).activations]
        for method in METHODS
        for precision in Precision
    ]
    for (method, precision, measured), (*_, told) in zip(found, expected, strict=True):
        assert measured == pytest.approx(told, rel=0.1), (method, precision)


def test_a_reference_keeps_nothing(preloaded: Preloaded, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, hidden_size=128, num_layers=6)
    ((language, preference),) = preloaded.run(saved_by_losses, folder=str(folder))
    assert preference == pytest.approx(language, rel=0.01)


def held(folder: str) -> list[int]:
    """Bytes of the tensors that a rank holds once the gradients of its second step are there, of each case.

    Without the buckets in which gradients were sent: not every stage keeps them.
    """
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        return [_held(gang, folder, *case) for case in HELD]


def _held(gang: Any, folder: str, zero_stage: int, method: str, precision: str) -> int:
    import torch

    from finetune_api.spec import Training as Settings
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    gc.collect()
    before = _storages()
    settings: Any = {
        "training": Settings(),
        "precision": Precision(precision),
        "division": Division(zero_stage=zero_stage, micro_batch_size=1, micro_steps=1),
    }
    engine = make_engine(_loaded(folder, method, precision, room_of(gang, **settings)), gang, **settings)
    documents = Encoded.random([TOKENS], vocab_size=200)
    tokens = tokens_of(documents, [PlacedRow(0, (0,))], torch.device("cpu"))
    for step in range(2):
        engine.backward(engine(tokens), scale_wrt_gas=False)
        if step == 0:
            engine.step()
    for bucket in getattr(engine.optimizer, "ipg_buckets", {}).values():
        bucket.buffer = []
    gc.collect()
    return sum(size for place, size in _storages().items() if place not in before)


def _storages() -> dict[int, int]:
    import torch

    tensors = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def test_a_rank_holds_the_states_that_its_stage_divides(preloaded: Preloaded, tmp_path: Path) -> None:
    # ZeRO 3 does not divide the matrices of narrower models.
    folder = tiny_model(tmp_path, hidden_size=384, num_kv_heads=4)
    found = preloaded.run(held, world_size=2, folder=str(folder))[0]
    told = [_states(a_training(folder, method, precision, 2), stage) for stage, method, precision in HELD]
    assert dict(zip(HELD, found, strict=True)) == pytest.approx(dict(zip(HELD, told, strict=True)), rel=0.1)


def _states(training: Training, zero_stage: int) -> int:
    told = estimate(training, a_choice(zero_stage))
    return told.weights + told.adapter + told.gradients + told.optimizer
