"""What published models make of documents in plain transformers and PEFT. Run as a file: nothing of ours is imported.

Reads as JSON `[{"base": folder, "model": folder, "documents": [{"ids", "targets", "labels"}]}, …]` and prints as JSON
the mean loss of each in nats: per target where a document names its targets (places of tokens that are to be
predicted), per document where it has labels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

Document = dict[str, Any]


def load(base: Path, model: Path, *, classifies: bool) -> Any:
    """An adapter is put onto the base model; whole weights stand alone."""
    auto = AutoModelForSequenceClassification if classifies else AutoModelForCausalLM
    if not (model / "adapter_config.json").exists():
        return auto.from_pretrained(model, dtype=torch.float32).eval()
    config = AutoConfig.from_pretrained(model if classifies else base)
    plain = auto.from_pretrained(base, config=config, dtype=torch.float32)
    return PeftModel.from_pretrained(plain, model).eval()


def loss_of_tokens(model: Any, documents: list[Document]) -> float:
    total, number = 0.0, 0
    for document in documents:
        ids, targets = torch.tensor(document["ids"]), torch.tensor(document["targets"])
        logits = model(ids[None]).logits[0].double()
        total += float(cross_entropy(logits[targets - 1], ids[targets], reduction="sum"))
        number += len(targets)
    return total / number


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


def main() -> None:
    losses = []
    for asked in json.load(sys.stdin):
        classifies = "labels" in asked["documents"][0]
        model = load(Path(asked["base"]), Path(asked["model"]), classifies=classifies)
        with torch.inference_mode():
            losses.append((loss_of_labels if classifies else loss_of_tokens)(model, asked["documents"]))
    print(json.dumps({"losses": losses, "ours": [name for name in sys.modules if name.startswith("finetune_")]}))


if __name__ == "__main__":
    main()
