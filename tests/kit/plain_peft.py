"""What a published adapter computes in plain transformers and PEFT. Run as a file: nothing of this project is imported.

`python plain_peft.py BASE ADAPTER` reads rows `{"prompt", "completion"}` as JSON Lines and prints a JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer


def mean_loss(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> float:
    """Nats per token of the answers, their end tokens included; each row by itself."""
    total, num_tokens = 0.0, 0
    for row in rows:
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(turns, return_dict=False)
        ids = torch.tensor(whole[: len(whole) - whole[::-1].index(tokenizer.eos_token_id)])
        with torch.no_grad():
            logits = model(ids[None]).logits[0, len(prompt) - 1 : -1]
        targets = ids[len(prompt) :]
        total += float(cross_entropy(logits.double(), targets, reduction="sum"))
        num_tokens += len(targets)
    return total / num_tokens


def main(base: str, adapter: str) -> None:
    rows = [json.loads(line) for line in sys.stdin]
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
    with model.disable_adapter():
        before = mean_loss(model, tokenizer, rows)
    ours = [name for name in sys.modules if name.startswith("finetune_")]
    after = mean_loss(model, tokenizer, rows)
    print(json.dumps({"rows": len(rows), "before": before, "after": after, "ours": ours}))


if __name__ == "__main__":
    main(*sys.argv[1:])
