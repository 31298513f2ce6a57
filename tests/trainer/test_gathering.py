"""Weights that ZeRO 3 divides, gathered once to answer prompts: whether there is room, and what is left of it after."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoded import Encoded
from language_models import language_engine
from preloaded import Preloaded
from tiny_models import tiny_model

GIB = 1 << 30
PROMPTS = [[1, *range(50, 50 + number)] for number in range(5)]
TOKENS_AT_ONCE = 8
"""Of these prompts: three batches, of which the first of two ranks has two."""


def trained(folder: str, method: str) -> dict[str, Any]:
    """Four steps under ZeRO 1 and 3 with prompts answered on the way, and under ZeRO 3 without."""
    from finetune_trainer.gang import form_gang

    with form_gang(os.environ, gpu=False) as gang:
        # ZeRO 3 patches torch's linear layers for the rest of the process.
        return {
            name: _four_steps(gang, folder, method, zero_stage=stage, answering=answering)
            for name, stage, answering in (("whole", 1, True), ("divided", 3, True), ("undisturbed", 3, False))
        }


def _four_steps(gang: Any, folder: str, method: str, *, zero_stage: int, answering: bool) -> dict[str, Any]:
    import torch

    from finetune_trainer.engine import gathered, is_divided, whole
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    engine = language_engine(folder, gang, zero_stage=zero_stage, method=method, recomputed=method == "LoRA")
    model = engine.module
    data = Encoded.random([20, 12], vocab_size=200)
    answered, losses, left = [], [], []
    for step in range(4):
        if answering and step in (0, 1, 3):  # before DeepSpeed knows the layers' order, while it learns it, and after
            answered.append(_answers(model, gang))
            with suppress(InterruptedError), whole(model):
                raise InterruptedError
            if is_divided(model):
                left.append(sum(parameter.numel() for parameter in model.parameters()))
        loss = engine(tokens_of(data, [PlacedRow(gang.rank, (gang.rank,))], torch.device("cpu")))
        engine.backward(loss / 8, scale_wrt_gas=False)
        engine.step()
        losses.append(float(loss.detach()).hex())
    digest = hashlib.sha256()
    for parameter in model.parameters():
        with gathered(parameter):
            digest.update(parameter.detach().numpy().tobytes())
    return {"answered": answered, "losses": losses, "weights": digest.hexdigest(), "left": left}


def _answers(model: Any, gang: Any) -> list[list[int]]:
    from finetune_trainer.generation import answers

    prompts = [np.array(prompt, np.int32) for prompt in PROMPTS]
    limits = {"tokens_at_once": TOKENS_AT_ONCE, "max_new_tokens": 3}
    return answers(model, gang, prompts, eos_id=2, beat=lambda: None, **limits)


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_divided_weights_answer_like_whole_ones_and_go_on_as_if_nobody_had_asked(
    preloaded: Preloaded, tmp_path: Path, method: str
) -> None:
    # DeepSpeed keeps whole what has no more than 100,000 elements: of this model the embedding, but not the products.
    folder = tiny_model(tmp_path / "model", hidden_size=320, tied=method == "LoRA")
    ranks = preloaded.run(trained, world_size=2, folder=str(folder), method=method)
    for found in ranks:
        assert found["divided"]["answered"] == found["whole"]["answered"]
        assert found["divided"]["left"] == [0, 0, 0]
        for what in ("losses", "weights"):
            assert found["divided"][what] == found["undisturbed"][what]
    (answered,) = {str(found["divided"]["answered"]) for found in ranks}
    assert len(set(answered)) > 1


SHORTAGES = [
    ({"weights": 14, "answers": 2, "to_come": 1, "free": 20, "gpu": True}, None),
    ({"weights": 14, "answers": 2, "to_come": 1, "free": 18, "gpu": True}, "a smaller spec.evaluation.maxNewTokens"),
    (
        {"weights": 14, "answers": 2, "to_come": 1, "free": 12, "gpu": True},
        "GPUs with more memory (spec.workers.gpuMemory)",
    ),
    ({"weights": 14, "answers": 0, "to_come": 4, "free": 16, "gpu": False}, "more spec.workers.resources.memory"),
    ({"weights": 0, "answers": 1, "to_come": 0, "free": 1, "gpu": False}, "a smaller spec.evaluation.maxNewTokens"),
]
"""In GiB, and what is to be changed."""


def shortages(cases: list[dict[str, int]]) -> list[str | None]:
    from finetune_trainer.gathering import shortage

    return [shortage(**{what: size if what == "gpu" else size * GIB for what, size in case.items()}) for case in cases]


def test_what_lacks_memory_is_told_with_what_to_change(preloaded: Preloaded) -> None:
    (found,) = preloaded.run(shortages, cases=[case for case, _ in SHORTAGES])
    for said, (case, remedy) in zip(found, SHORTAGES, strict=True):
        if remedy is None:
            assert said is None
            continue
        needed = case["weights"] + case["answers"] + case["to_come"]
        assert (
            f"takes {needed:.1f} GiB more on each rank, {case['weights']:.1f} GiB of it for the whole weights" in said
        )
        assert f"take {remedy}, or ask for no answers with spec.evaluation.generateRows: 0" in said
