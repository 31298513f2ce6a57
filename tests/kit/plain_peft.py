"""What a published adapter computes in plain transformers and PEFT. Run as a file: nothing of this project is imported.

`python plain_peft.py BASE ADAPTER` reads rows `{"prompt", "completion"}` as JSON Lines and prints a JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

Encode = Callable[[str, str], tuple[int, list[int]]]
"""Prompt and answer to the number of the prompt's tokens, and all tokens up to the end of the answer."""


def by_template(folder: Path) -> Encode:
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(prompt: str, answer: str) -> tuple[int, list[int]]:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        begin = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(turns, return_dict=False)
        return len(begin), whole[: len(whole) - whole[::-1].index(tokenizer.eos_token_id)]

    return encode


def mean_loss(model: Any, encode: Encode, rows: list[dict[str, str]]) -> float:
    """Nats per token of the answers, their end tokens included; each row by itself."""
    total, num_tokens = 0.0, 0
    for row in rows:
        begin, tokens = encode(row["prompt"], row["completion"])
        ids = torch.tensor(tokens)
        with torch.no_grad():
            logits = model(ids[None]).logits[0, begin - 1 : -1]
        targets = ids[begin:]
        total += float(cross_entropy(logits.double(), targets, reduction="sum"))
        num_tokens += len(targets)
    return total / num_tokens


def main(base: str, adapter: str) -> None:
    rows = [json.loads(line) for line in sys.stdin]
    encode = by_template(Path(adapter))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    with model.disable_adapter():
        before = mean_loss(model, encode, rows)
    ours = [name for name in sys.modules if name.startswith("finetune_")]
    after = mean_loss(model, encode, rows)
    print(json.dumps({"rows": len(rows), "before": before, "after": after, "ours": ours}))


if __name__ == "__main__":
    main(*sys.argv[1:])
