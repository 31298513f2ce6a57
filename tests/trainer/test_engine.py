"""Real DeepSpeed on CPU: what each ZeRO stage makes of a batch, and what a rank holds of a model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encoded import Encoded, Pairs
from finetune_api.spec import LoRA
from finetune_trainer.prepare.model.adapter import expected_adapter
from finetune_trainer.prepare.model.architecture import read_config
from preloaded import Preloaded
from tiny_models import tiny_model

LENGTHS = [40, 21, 64, 9, 33, 50, 17, 6, 28, 60, 12]
ROWS = ((0, 1), (2,), (3, 4, 6), (5,), (7, 8), (9,), (10,))
"""Of a batch of 8 rows; the last is a dummy."""
WORLD_SIZES = (1, 2, 4)
MODULES = ("q_proj", "down_proj")
SIZE = {"rank": 4, "alpha": 8}
UNIT = 2.0**-8
"""By how much of it bf16 rounds a number at most."""


@dataclass(frozen=True)
class Case:
    """What is computed, and how it is divided."""

    zero_stage: int
    method: str
    head: str
    """tied or untied. The former recomputes its blocks."""
    precision: str = "Float32"
    prefers: bool = False
    """From where an adapter has come to, with that as its reference."""

    def __str__(self) -> str:
        words = (self.zero_stage, self.method, self.head, self.precision, "Preference" if self.prefers else "Language")
        return "-".join(map(str, words))

    @property
    def data(self) -> Encoded:
        return (Pairs if self.prefers else Encoded).random(LENGTHS, vocab_size=200)


# ZeRO 3 patches torch's linear layers for the rest of the process, so it comes last.
CASES = (
    Case(1, "LoRA", "tied"),
    Case(1, "Full", "untied"),
    Case(1, "Full", "tied", "BFloat16"),
    Case(2, "LoRA", "untied"),
    Case(2, "Full", "tied"),
    Case(2, "LoRA", "tied", "BFloat16"),
    Case(3, "Full", "tied"),
    Case(3, "Full", "untied"),
    Case(3, "Full", "untied", "BFloat16"),
    Case(3, "LoRA", "tied", prefers=True),
)


def write_gradients(folder: str, models: dict[str, str]) -> None:
    """Of the batch's mean loss, of every trained parameter, in every case; of one rank also those of plain PyTorch."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        for case in CASES:
            found = _of_engine(gang, case, models)
            if gang.rank == 0:
                save_file(found, f"{folder}/{gang.world_size}-{case}")
            if gang.world_size == 1:
                gradients, sizes = _plain(case, models)
                save_file(gradients, f"{folder}/plain-{case}")
                save_file(sizes, f"{folder}/sizes-{case}")


def _loaded(device: Any, case: Case, models: dict[str, str], room: Any) -> Any:
    import torch

    from finetune_api.spec import ActivationCheckpointing, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives import language, preference
    from finetune_trainer.weights import values_of

    def stirred(like: torch.Tensor, values: Any) -> Any:
        """Fresh adapters have no gradients but those of their zeros."""
        if case.method == "LoRA" and like.requires_grad:
            values = values_of(torch.randn(like.shape, generator=torch.Generator().manual_seed(like.numel())))
        return room(like, values)

    initial = Path(models["adapter"]) if case.prefers else None
    adapter = Adapter(lora=LoRA(**SIZE), target_modules=MODULES, initial=initial)
    how = ActivationCheckpointing.FULL if case.head == "tied" else ActivationCheckpointing.NONE
    model = load_model(
        Path(models[case.head]),
        adapter=adapter if case.method == "LoRA" else None,
        seed=3,
        precision=Precision(case.precision),
        computation=Computation(activation_checkpointing=how),
        device=device,
        room=stirred,
        head=preference.head(0.1) if case.prefers else language.HEAD,
    )
    model.train()
    return model


def _of_engine(gang: Any, case: Case, models: dict[str, str]) -> dict[str, np.ndarray]:
    import torch
    from deepspeed.utils import safe_get_full_grad

    from finetune_api.spec import Precision, Training
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.packing import accumulation, micro_batches
    from finetune_trainer.tokens import tokens_of

    division = Division(
        zero_stage=case.zero_stage,
        micro_batch_size=1,
        micro_steps=accumulation(8, world_size=gang.world_size, micro_batch_size=1),
    )
    settings: Any = {
        "training": Training(gradient_clip=0, weight_decay=0.1),
        "precision": Precision(case.precision),
        "division": division,
    }
    model = _loaded(gang.device, case, models, room_of(gang, **settings))
    engine = make_engine(model, gang, **settings)
    num_items = int(case.data.items.sum())
    share = micro_batches(
        ROWS,
        micro_steps=division.micro_steps,
        micro_batch_size=1,
        rank=gang.rank,
        world_size=gang.world_size,
    )
    for number, rows in enumerate(share, 1):
        loss = engine(tokens_of(case.data, rows, torch.device("cpu")))
        engine.backward(loss * (gang.world_size / num_items), scale_wrt_gas=False)
        if number < division.micro_steps:
            engine.step()
    found = {
        name: safe_get_full_grad(parameter).float().numpy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    engine.step()
    # A step more: what a stage gathers, it must let go.
    engine(tokens_of(case.data, share[0], torch.device("cpu")))
    return found


def _plain(case: Case, models: dict[str, str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By one pass over the batch; in bf16 row by row, added up in fp32. With it, the sizes of what was added up."""
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of
    from finetune_trainer.weights import whole_on

    cpu = torch.device("cpu")
    model = _loaded(cpu, case, models, whole_on(cpu))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums, sizes = ({name: np.zeros(each.shape, np.float32) for name, each in trained.items()} for _ in range(2))
    batch = [PlacedRow(place, row) for place, row in enumerate(ROWS)]
    for rows in [batch] if case.precision == "Float32" else [[row] for row in batch]:
        model.zero_grad()
        # As the engine's, by a factor: a quotient may be another number, which bf16 rounds otherwise.
        (model(tokens_of(case.data, rows, cpu)) * (1 / int(case.data.items.sum()))).backward()
        for name, parameter in trained.items():
            gradient = parameter.grad.float().numpy()
            sums[name] += gradient
            sizes[name] += np.abs(gradient)
    return sums, sizes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of models by their head, and of an adapter."""
    home = tmp_path_factory.mktemp("models")
    folders = {name: tiny_model(home / name, tied=name == "tied") for name in ("tied", "untied")}
    config = read_config(json.loads((folders["tied"] / "config.json").read_text()))
    random = np.random.default_rng(0)
    shapes = expected_adapter(config, LoRA(**SIZE), MODULES)
    tensors = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    folders["adapter"] = home / "adapter"
    folders["adapter"].mkdir()
    save_file(tensors, folders["adapter"] / "adapter_model.safetensors")
    return {name: str(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def gradients(
    preloaded: Preloaded, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Case], dict[str, np.ndarray]]:
    """Of 1, 2 and 4 ranks, `plain`, and their `sizes`, by name of the parameter."""
    folder = tmp_path_factory.mktemp("gradients")
    for world_size in WORLD_SIZES:
        preloaded.run(write_gradients, world_size=world_size, folder=str(folder), models=models, timeout=170)
    return lambda whose, case: load_file(folder / f"{whose}-{case}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_stage_method_and_division_gives_the_gradients_of_the_mean_over_the_batch(
    gradients: Callable[[str, Case], dict[str, np.ndarray]], case: Case
) -> None:
    """In fp32 to 1e-6. In bf16 to what rounding makes of sums over ranks, which are of bf16: a unit for each rank."""
    plain, sizes = (gradients(whose, case) for whose in ("plain", "sizes"))
    for world_size in WORLD_SIZES:
        found = gradients(str(world_size), case)
        assert found.keys() == plain.keys()
        for name, gradient in found.items():
            assert np.ptp(gradient) > 1e-4, name
            allowed = 1e-6 if case.precision == "Float32" else world_size * UNIT * sizes[name] + 1e-9
            assert (np.abs(gradient - plain[name]) <= allowed).all(), (world_size, name)


def held(folder: str, small: str, zero_stage: int) -> int:
    """By how many bytes of its own memory this rank grew at most while it loaded the model, parameter by parameter."""
    from finetune_api.spec import Precision, Training
    from finetune_trainer.division import Division
    from finetune_trainer.engine import room_of
    from finetune_trainer.gang import form_gang
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language

    division = Division(zero_stage=zero_stage, micro_batch_size=1, micro_steps=1)
    with form_gang(os.environ, gpu=False) as gang:
        room = room_of(gang, training=Training(), precision=Precision.FLOAT32, division=division)
        sizes = []

        def watched(like: Any, values: Any) -> Any:
            parameter = room(like, values)
            sizes.append(_own_memory())
            return parameter

        def load(from_folder: str) -> Any:
            return load_model(
                Path(from_folder),
                adapter=None,
                seed=0,
                precision=Precision.FLOAT32,
                device=gang.device,
                room=watched,
                head=language.HEAD,
            )

        load(small)  # what is imported for the first model is not the second's
        sizes = [_own_memory()]
        model = load(folder)
        assert sum(1 for _ in model.parameters()) == 12 * 9 + 3
    return max(sizes) - sizes[0]


def _own_memory() -> int:
    """Without the pages of mapped files, which belong to nobody."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def test_under_zero_3_no_rank_ever_holds_the_whole_model(preloaded: Preloaded, tmp_path: Path) -> None:
    folders = {
        "folder": str(tiny_model(tmp_path / "wide", hidden_size=384, num_layers=12, tied=False)),
        "small": str(tiny_model(tmp_path / "small")),
    }
    size = (tmp_path / "wide" / "model.safetensors").stat().st_size
    assert size > 50e6
    (whole,) = preloaded.run(held, world_size=1, **folders, zero_stage=2)
    divided = preloaded.run(held, world_size=4, **folders, zero_stage=3)
    assert whole > 0.95 * size
    assert max(divided) < 0.35 * size, (divided, size)


def memorise(folder: str, method: str, zero_stage: int) -> list[float]:
    """Mean loss before each step on the same 20 documents, until it is next to nothing."""
    from finetune_api.spec import LoRA, Precision, Training
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.gang import form_gang
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    settings: Any = {
        "training": Training(weight_decay=0.0),
        "precision": Precision.FLOAT32,
        "division": Division(zero_stage=zero_stage, micro_batch_size=1, micro_steps=1),
    }
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    data = Encoded.random([6] * 20, vocab_size=200)
    losses = []
    with form_gang(os.environ, gpu=False) as gang:
        model = load_model(
            Path(folder),
            adapter=Adapter(lora=LoRA(rank=16, alpha=32), target_modules=modules) if method == "LoRA" else None,
            seed=0,
            precision=Precision.FLOAT32,
            device=gang.device,
            room=room_of(gang, **settings),
            head=language.HEAD,
        )
        engine = make_engine(model, gang, **settings)
        engine.train()
        tokens = tokens_of(data, [PlacedRow(0, tuple(range(20)))], gang.device)
        for _ in range(120):
            for group in engine.optimizer.param_groups:
                group["lr"] = 5e-3 if method == "Full" else 1e-2
            loss = engine(tokens)
            engine.backward(loss / 60, scale_wrt_gas=False)
            engine.step()
            losses.append(float(loss.detach()) / 60)
            if losses[-1] < 0.02:
                break
    return losses


@pytest.mark.parametrize(("method", "zero_stage"), [("Full", 3), ("LoRA", 2)])
def test_twenty_rows_are_learnt_by_heart(preloaded: Preloaded, tmp_path: Path, method: str, zero_stage: int) -> None:
    folder = tiny_model(tmp_path / "model", hidden_size=64, tied=False)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 25  # below a fresh head that stays as it is no model can be sure of anything
    save_file(weights, folder / "model.safetensors")
    (losses,) = preloaded.run(memorise, folder=str(folder), method=method, zero_stage=zero_stage)
    assert losses[0] > 5
    assert losses[-1] < 0.02, losses[::10]


def decays(folder: str, method: str) -> dict[str, list[str]]:
    """Names of the parameters by whether they decay, under ZeRO 3."""
    from finetune_api.spec import LoRA, Precision, Training
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.gang import form_gang
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import language

    settings: Any = {
        "training": Training(weight_decay=0.1),
        "precision": Precision.FLOAT32,
        "division": Division(zero_stage=3, micro_batch_size=1, micro_steps=1),
    }
    with form_gang(os.environ, gpu=False) as gang:
        model = load_model(
            Path(folder),
            adapter=Adapter(lora=LoRA(rank=4), target_modules=("q_proj",)) if method == "LoRA" else None,
            seed=0,
            precision=Precision.FLOAT32,
            device=gang.device,
            room=room_of(gang, **settings),
            head=language.HEAD,
        )
        names = {parameter: name.split(".")[-2] for name, parameter in model.named_parameters()}
        engine = make_engine(model, gang, **settings)
        return {
            str(group["weight_decay"]): sorted({names[parameter] for parameter in parameters})
            for group, parameters in zip(engine.optimizer.param_groups, engine.optimizer.fp16_groups, strict=True)
        }


def test_matrices_decay_and_norms_and_embeddings_do_not(preloaded: Preloaded, models: dict[str, str]) -> None:
    matrices = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    norms = ["input_layernorm", "norm", "post_attention_layernorm"]
    assert preloaded.run(decays, folder=models["untied"], method="Full")[0] == {
        "0.1": sorted([*matrices, "lm_head"]),
        "0.0": sorted([*norms, "embed_tokens"]),
    }
    assert preloaded.run(decays, folder=models["tied"], method="Full")[0] == {
        "0.1": matrices,
        "0.0": sorted([*norms, "embed_tokens"]),
    }
    assert preloaded.run(decays, folder=models["tied"], method="LoRA")[0] == {"0.1": ["default"]}
