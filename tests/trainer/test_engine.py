"""Real DeepSpeed on CPU: what each ZeRO stage makes of a batch, and what a rank holds of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encoded import Encoded
from preloaded import Preloaded
from tiny_models import tiny_model

LENGTHS = [40, 21, 64, 9, 33, 50, 17, 5, 28, 60, 12]
ROWS = ((0, 1), (2,), (3, 4, 6), (5,), (7, 8), (9,), (10,))
"""Of a batch of 8 rows; the last is a dummy."""

# ZeRO 3 patches torch's linear layers for the rest of the process, so it comes last.
CASES = ("1-LoRA-tied", "1-Full-untied", "2-LoRA-untied", "2-Full-tied", "3-LoRA-tied", "3-Full-tied", "3-Full-untied")


def gradients(folders: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Of the batch's mean loss, of every trained parameter, in every case; and in a plain model, by itself."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        found = {case: _of_engine(gang, case, folders) for case in CASES}
        plain = {} if gang.world_size > 1 else {case: _plain(case, folders) for case in CASES}
    return {"engine": found, "plain": plain} if gang.rank == 0 else {}


def _loaded(device: Any, case: str, folders: dict[str, str], room: Any) -> Any:
    import torch

    from finetune_api.spec import ActivationCheckpointing, LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.weights import values_of

    _, method, head = case.split("-")

    def stirred(like: torch.Tensor, values: Any) -> Any:
        """Fresh adapters have no gradients but those of their zeros."""
        if method == "LoRA" and like.requires_grad:
            values = values_of(torch.randn(like.shape, generator=torch.Generator().manual_seed(like.numel())))
        return room(like, values)

    model = load_model(
        Path(folders[head]),
        adapter=Adapter(lora=LoRA(rank=4), target_modules=("q_proj", "down_proj")) if method == "LoRA" else None,
        seed=3,
        precision=Precision.FLOAT32,
        computation=Computation(
            activation_checkpointing=ActivationCheckpointing.FULL if head == "tied" else ActivationCheckpointing.NONE
        ),
        device=device,
        room=stirred,
        head=language.HEAD,
    )
    model.train()
    return model


def _of_engine(gang: Any, case: str, folders: dict[str, str]) -> dict[str, Any]:
    import torch
    from deepspeed.utils import safe_get_full_grad

    from finetune_api.spec import Precision, Training
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.packing import accumulation, micro_batches
    from finetune_trainer.tokens import tokens_of

    division = Division(
        zero_stage=int(case[0]),
        micro_batch_size=1,
        micro_steps=accumulation(8, world_size=gang.world_size, micro_batch_size=1),
    )
    settings: Any = {
        "training": Training(gradient_clip=0, weight_decay=0.1),
        "precision": Precision.FLOAT32,
        "division": division,
    }
    model = _loaded(gang.device, case, folders, room_of(gang, **settings))
    engine = make_engine(model, gang, **settings)
    data = Encoded.random(LENGTHS, vocab_size=200)
    num_trained = int(data.trained.sum())
    share = micro_batches(
        ROWS,
        micro_steps=division.micro_steps,
        micro_batch_size=1,
        rank=gang.rank,
        world_size=gang.world_size,
    )
    for number, rows in enumerate(share, 1):
        loss = engine(tokens_of(data, rows, torch.device("cpu")))
        engine.backward(loss * (gang.world_size / num_trained), scale_wrt_gas=False)
        if number < division.micro_steps:
            engine.step()
    found = {
        name: safe_get_full_grad(parameter).flatten().tolist()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    engine.step()
    # A step more: what a stage gathers, it must let go.
    engine(tokens_of(data, share[0], torch.device("cpu")))
    return found


def _plain(case: str, folders: dict[str, str]) -> dict[str, Any]:
    import torch

    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of
    from finetune_trainer.weights import whole_on

    cpu = torch.device("cpu")
    model = _loaded(cpu, case, folders, whole_on(cpu))
    data = Encoded.random(LENGTHS, vocab_size=200)
    tokens = tokens_of(data, [PlacedRow(place, row) for place, row in enumerate(ROWS)], cpu)
    (model(tokens) / int(data.trained.sum())).backward()
    return {
        name: parameter.grad.flatten().tolist()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {name: str(tiny_model(folder / name, tied=name == "tied")) for name in ("tied", "untied")}


def test_every_stage_method_and_division_gives_the_gradients_of_the_mean_over_the_batch(
    preloaded: Preloaded, folders: dict[str, str]
) -> None:
    found = {world: preloaded.run(gradients, world_size=world, folders=folders, timeout=170)[0] for world in (1, 2, 4)}
    plain = found[1]["plain"]
    assert {len(plain[case]) for case in CASES if "LoRA" in case} == {8}
    for world, case in ((world, case) for world in found for case in CASES):
        engine = found[world]["engine"][case]
        assert engine.keys() == plain[case].keys()
        for name, gradient in engine.items():
            assert np.ptp(gradient) > 1e-4, name
            np.testing.assert_allclose(
                gradient, plain[case][name], rtol=0, atol=1e-6, err_msg=f"{world} ranks, {case}, {name}"
            )


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


def test_matrices_decay_and_norms_and_embeddings_do_not(preloaded: Preloaded, folders: dict[str, str]) -> None:
    matrices = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    norms = ["input_layernorm", "norm", "post_attention_layernorm"]
    assert preloaded.run(decays, folder=folders["untied"], method="Full")[0] == {
        "0.1": sorted([*matrices, "lm_head"]),
        "0.0": sorted([*norms, "embed_tokens"]),
    }
    assert preloaded.run(decays, folder=folders["tied"], method="Full")[0] == {
        "0.1": matrices,
        "0.0": sorted([*norms, "embed_tokens"]),
    }
    assert preloaded.run(decays, folder=folders["tied"], method="LoRA")[0] == {"0.1": ["default"]}
