"""What published models make of documents in plain transformers and PEFT. Run as a file: nothing of ours is imported.

Reads as JSON `[{"base", "model", "initial", "documents": [{"ids", "targets", "labels"}]}, …]`, of which the first two
are folders and the third is that of the adapter that the model went on from, or null, and prints as JSON
the mean loss of each in nats: per target where a document names its targets (places of tokens that are to be
predicted), per document where it has labels. One that has `pair` in place of all that, an answer that was chosen and
one that was not, counts once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

Document = dict[str, Any]
INITIAL = "initial"
BETA = 0.1
"""Of a Preference task that says nothing else."""


def load(base: Path, model: Path, *, classifies: bool) -> Any:
    """An adapter is put onto the base model; whole weights stand alone."""
    auto = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
    if not (model / "adapter_config.json").exists():
        return auto.from_pretrained(model, dtype=torch.float32).eval()
    config = AutoConfig.from_pretrained(model if classifies else base)
    plain = auto.from_pretrained(base, config=config, dtype=torch.float32)
    return PeftModel.from_pretrained(plain, model).eval()


def nats(model: Any, sequence: Document) -> float:
    """Of its targets together."""
    ids, targets = torch.tensor(sequence["ids"]), torch.tensor(sequence["targets"])
    logits = model(ids[None]).logits[0].double()
    return float(cross_entropy(logits[targets - 1], ids[targets], reduction="sum"))


def loss_of_tokens(model: Any, documents: list[Document]) -> float:
    return sum(nats(model, each) for each in documents) / sum(len(each["targets"]) for each in documents)


@contextmanager
def as_it_began(model: Any) -> Iterator[None]:
    if INITIAL not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter(INITIAL)
    yield
    model.set_adapter("default")


def loss_of_pairs(model: Any, documents: list[Document]) -> float:
    """Direct preference optimization (arXiv 2305.18290), compared with the initial adapter, or the base model."""
    total = 0.0
    for document in documents:
        chosen, rejected = (nats(model, each) for each in document["pair"])
        with as_it_began(model):
            chosen_before, rejected_before = (nats(model, each) for each in document["pair"])
        margin = BETA * ((chosen_before - chosen) - (rejected_before - rejected))
        total += math.log1p(math.exp(-margin))
    return total / len(documents)


def loss_of_labels(model: Any, documents: list[Document]) -> float:
    total = 0.0
    for document in documents:
        (logits,) = model(torch.tensor(document["ids"])[None]).logits.double()
        if model.config.problem_type == "multi_label_classification":
            truth = torch.zeros_like(logits)
            truth[document["labels"]] = 1
            total += float(binary_cross_entropy_with_logits(logits, truth))
        else:
            total += float(cross_entropy(logits, torch.tensor(document["labels"][0])))
    return total / len(documents)


LOSSES = {"targets": loss_of_tokens, "labels": loss_of_labels, "pair": loss_of_pairs}


def main() -> None:
    losses = []
    for asked in json.load(sys.stdin):
        (loss,) = (found for key, found in LOSSES.items() if key in asked["documents"][0])
        model = load(Path(asked["base"]), Path(asked["model"]), classifies=loss is loss_of_labels)
        if asked["initial"]:
            model.load_adapter(asked["initial"], INITIAL)
        with torch.inference_mode():
            losses.append(loss(model, asked["documents"]))
    print(json.dumps({"losses": losses, "ours": [name for name in sys.modules if name.startswith("finetune_")]}))


if __name__ == "__main__":
    main()
