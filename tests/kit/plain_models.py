"""What published models compute in plain transformers and PEFT. Run as a file: nothing of this project is imported.

`python plain_models.py` reads a JSON list of {"kind", "folder", "config", "adapter", "ids"}, of which kind is CausalLM
or SequenceClassification and adapter may be null, and prints the fp32 logits of each as JSON.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers
from peft import PeftModel


def main() -> None:
    found = []
    for asked in json.load(sys.stdin):
        config = transformers.AutoConfig.from_pretrained(asked["config"])
        model = getattr(transformers, f"AutoModelFor{asked['kind']}").from_pretrained(
            asked["folder"], config=config, dtype=torch.float32, attn_implementation="eager"
        )
        if asked["adapter"]:
            model = PeftModel.from_pretrained(model, asked["adapter"])
        with torch.inference_mode():
            found.append(model.eval()(torch.tensor([asked["ids"]])).logits[0].tolist())
    print(json.dumps({"logits": found, "ours": [name for name in sys.modules if name.startswith("finetune_")]}))


if __name__ == "__main__":
    main()
