"""Twenty rows are learnt by heart, whatever the task: what is wrong with a loss or its gradient shows here first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoded import Encoded
from tiny_models import tiny_model

ROWS = 20


class Labelled(Encoded):
    """Read at their ends; labels take turns."""

    def mask(self, index: int) -> np.ndarray:
        length = len(self.documents[index])
        return np.arange(length) == length - 1

    def labels(self, index: int) -> tuple[int, ...]:
        return (index % 3,)


class SeveralLabels(Labelled):
    def labels(self, index: int) -> tuple[int, ...]:
        return ((0, 2), (), (1,))[index % 3]


class Pairs(Encoded):
    """Two sequences of six tokens, of which the last three are labelled."""

    def breaks(self, _index: int) -> tuple[int, ...]:
        return (6,)

    def mask(self, _index: int) -> np.ndarray:
        return np.arange(12) % 6 >= 3


LEARNT = 0.05


def overfitted(folder: str, objective: str, most_steps: int) -> float:
    """The loss by what is learnt, after so many steps on all rows at once, or as few as are enough."""
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.measures import LabelSet
    from finetune_trainer.model import load_model
    from finetune_trainer.objectives import classification, language, preference
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of
    from jobs import make_job

    several = objective == "several labels"
    labels = LabelSet(("a", "b", "c"), (7, 7, 6), ROWS, several)
    kinds: dict[str, Any] = {
        "language": (Encoded, language.HEAD),
        "label": (Labelled, classification.head(labels, balanced=False, pad_id=2)),
        "several labels": (SeveralLabels, classification.head(labels, balanced=False, pad_id=2)),
        "preference": (Pairs, preference.Preference.of(make_job(task={"type": "Preference"}).spec, Any, Any).head),
    }
    kind, head = kinds[objective]
    data = kind.random([12] * ROWS, vocab_size=200)
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=16, alpha=32), target_modules=("q_proj", "v_proj", "up_proj", "down_proj")),
        seed=0,
        precision=Precision.FLOAT32,
        device=torch.device("cpu"),
        head=head,
    )
    if objective in ("language", "preference"):
        model.mistral.lm_head.weight.data *= 50  # as drawn, it could not be sure of anything, and it is not trained
    model.train()
    tokens = tokens_of(data, [PlacedRow(0, tuple(range(ROWS)))], torch.device("cpu"))
    learnt = len(tokens.targets) if objective == "language" else ROWS
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2, weight_decay=0)
    for _ in range(most_steps):
        optimizer.zero_grad()
        loss = model(tokens) / learnt
        if float(loss) < LEARNT:
            break
        loss.backward()
        optimizer.step()
    return float(model(tokens)) / learnt


@pytest.mark.parametrize("objective", ["language", "label", "several labels", "preference"])
def test_twenty_rows_are_learnt_by_heart(preloaded, tmp_path, objective):
    folder = str(tiny_model(tmp_path / "model"))
    (loss,) = preloaded.run(overfitted, folder=folder, objective=objective, most_steps=150)
    assert loss < LEARNT
