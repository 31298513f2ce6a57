"""What a published classifier tells in plain transformers and PEFT. Run as a file: nothing of this project is imported.

`python plain_classifier.py BASE ADAPTER` reads a JSON list of documents (token ids) and prints their logits as JSON:
one at a time, and eight at a time, padded right and left.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification


def padded(documents: list[list[int]], pad_id: int, *, left: bool) -> dict[str, Any]:
    longest = max(map(len, documents))
    gaps = [longest - len(ids) for ids in documents]
    rows = [[pad_id] * gap + ids if left else ids + [pad_id] * gap for ids, gap in zip(documents, gaps, strict=True)]
    masks = [
        [0] * gap + [1] * len(ids) if left else [1] * len(ids) + [0] * gap
        for ids, gap in zip(documents, gaps, strict=True)
    ]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def main(base: str, adapter: str) -> None:
    documents = json.load(sys.stdin)
    config = AutoConfig.from_pretrained(adapter)
    model = AutoModelForSequenceClassification.from_pretrained(base, config=config, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    found: dict[str, Any] = {"labels": config.id2label, "padId": config.pad_token_id}
    with torch.inference_mode():
        for name, size, left in (("alone", 1, False), ("right", 8, False), ("left", 8, True)):
            found[name] = [
                row
                for start in range(0, len(documents), size)
                for row in model(
                    **padded(documents[start : start + size], config.pad_token_id, left=left)
                ).logits.tolist()
            ]
    found["ours"] = [name for name in sys.modules if name.startswith("finetune_")]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
