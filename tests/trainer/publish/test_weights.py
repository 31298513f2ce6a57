"""Weights that ranks hold together, written by one of them, and read by plain transformers and PEFT."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoded import Encoded
from plain_process import told_by
from preloaded import Preloaded
from tiny_models import tiny_model

IDS = list(range(4, 36))


class Labelled(Encoded):
    """Documents with one label each, told at their last token."""

    def mask(self, index: int) -> Any:
        return np.arange(len(self.documents[index])) == len(self.documents[index]) - 1

    def labels(self, index: int) -> tuple[int, ...]:
        return (index % 3,)


def train_and_write(bases: dict[str, str], folder: str) -> dict[str, Any]:
    """A step of each method under ZeRO 3 on two ranks, and what it made of the model is written."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        return {
            case: _train_and_write(case, gang, bases, Path(folder) / case)
            for case in ("Full-untied", "Full-tied-classifier", "LoRA-tied", "LoRA-untied-classifier")
        }


def _train_and_write(case: str, gang: Any, bases: dict[str, str], folder: Path) -> Any:
    import torch

    from finetune_api.spec import LoRA, Precision, Training
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.division import Division
    from finetune_trainer.engine import make_engine, room_of
    from finetune_trainer.failures import StageFailed
    from finetune_trainer.measures import LabelSet
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import classification, language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.publish.weights import Trained, write_trained
    from finetune_trainer.tokens import tokens_of

    method, kind, *classified = case.split("-")
    adapter = Adapter(
        lora=LoRA(rank=4, alpha=8, rank_stabilized=True, last_layers=1), target_modules=("q_proj", "down_proj")
    )
    labels = LabelSet(("bug", "praise", "question"), (6, 3, 1), 10, False)
    head = classification.head(labels, balanced=False, pad_id=2) if classified else language.HEAD
    settings: Any = {
        "training": Training(),
        "precision": Precision.FLOAT32,
        "division": Division(zero_stage=3, micro_batch_size=1, micro_steps=1),
    }
    packed = load_model(
        Path(bases[kind]),
        adapter=adapter if method == "LoRA" else None,
        seed=3,
        precision=Precision.FLOAT32,
        device=gang.device,
        room=room_of(gang, **settings),
        head=head,
    )
    engine = make_engine(packed, gang, **settings)
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.1
    data = (Labelled if classified else Encoded).random([20, 30], vocab_size=200)
    for _ in range(2):
        engine.backward(engine(tokens_of(data, [PlacedRow(0, (gang.rank,))], gang.device)), scale_wrt_gas=False)
        engine.step()
    packed.eval()
    with torch.no_grad():
        logits = packed.mistral(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].tolist()
    trained = Trained(
        model=packed,
        adapter=adapter if method == "LoRA" else None,
        head=head,
        dtype=torch.float32,
        base_folder=Path(bases[kind]),
        base_model_uri=f"file://{bases[kind]}",
        largest_file=60_000,
    )
    writes = gang.rank == 0
    merged = folder / "merged" if writes and method == "LoRA" else None
    write_trained(trained, folder / "model" if writes else None, merged=merged)
    if method == "LoRA":
        other = replace(trained, adapter=replace(adapter, lora=LoRA(rank=5)))
        with pytest.raises(StageFailed, match=r"what was written has \d+ tensors") if writes else nullcontext():
            write_trained(other, folder / "wrong" if writes else None)
    return logits


def test_plain_transformers_and_peft_compute_what_the_gang_computed(preloaded: Preloaded, tmp_path: Path) -> None:
    bases = {kind: str(tiny_model(tmp_path / kind, tied=kind == "tied", num_shards=2)) for kind in ("tied", "untied")}
    ours, others = preloaded.run(train_and_write, world_size=2, bases=bases, folder=str(tmp_path / "out"))
    assert ours == others
    asked = []
    for case in ours:
        method, kind, *classified = case.split("-")
        written = str(tmp_path / "out" / case / "model")
        asked.append(
            {
                "kind": "SequenceClassification" if classified else "CausalLM",
                "folder": bases[kind] if method == "LoRA" else written,
                "config": written if classified else bases[kind],
                "adapter": written if method == "LoRA" else None,
                "ids": IDS,
                "case": case,
            }
        )
        if method == "LoRA":
            merged = written.removesuffix("model") + "merged"
            asked.append(asked[-1] | {"folder": merged, "config": merged, "adapter": None})
    plain = told_by("plain_models.py", given=asked, preloaded=preloaded)
    assert plain["ours"] == []
    for each, logits in zip(asked, plain["logits"], strict=True):
        np.testing.assert_allclose(logits, ours[each["case"]], atol=1e-5, err_msg=str(each["folder"]))

    whole = tmp_path / "out" / "Full-untied" / "model"
    index = json.loads((whole / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in whole.glob("*.safetensors"))
    assert files == sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert index["metadata"]["total_size"] == 4 * (2 * 259 * 32 + 32 + 2 * (2 * 32 + 32 * 32 * 3 + 3 * 32 * 64))
    config = json.loads((tmp_path / "out" / "Full-tied-classifier" / "model" / "config.json").read_text())
    assert (config["architectures"], config["torch_dtype"]) == (["MistralForSequenceClassification"], "float32")
