"""TRL's SFTTrainer over documents of token ids; prints how fast, and whether packed documents see one another.

python sft.py MODEL_FOLDER DISTRIBUTION padded|packed STEPS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, MistralForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

sys.path.insert(0, str(Path(__file__).parents[1]))
from case import MODULES, RANK, ROW, documents

_BATCH: Final = 8
"""Of SFTConfig."""


class Clock(TrainerCallback):
    """When steps begin and end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def main() -> None:
    """One line of JSON: seconds and real tokens of each step but the first, real tokens over places, the leak."""
    folder, distribution, mode, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    packed = mode == "packed"
    with TemporaryDirectory() as out:
        trainer = SFTTrainer(
            model=MistralForCausalLM.from_pretrained(folder, dtype=torch.float32),
            args=SFTConfig(
                output_dir=out,
                max_length=ROW,
                packing=packed,
                # A packed row of our side holds as many tokens as one of its rows.
                per_device_train_batch_size=1 if packed else _BATCH,
                max_steps=steps,
                learning_rate=1e-4,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                logging_strategy="no",
            ),
            train_dataset=Dataset.from_dict({"input_ids": documents(distribution)}),
            processing_class=AutoTokenizer.from_pretrained(folder),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(MODULES), task_type="CAUSAL_LM"),
        )
        real: list[int] = []
        places: list[int] = []
        collate = trainer.data_collator

        def counted(examples: list[dict[str, Any]]) -> Any:
            real.append(sum(len(example["input_ids"]) for example in examples))
            batch = collate(examples)
            places.append(batch["input_ids"].numel())
            return batch

        trainer.data_collator = counted
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        answer: dict[str, Any] = {
            "seconds": clock.seconds[1:],
            "tokens": real[1 : len(clock.seconds)],
            "filled": sum(real) / sum(places),
        }
        if packed:
            answer["leak"] = leak(trainer, collate)
    print(json.dumps(answer))


def leak(trainer: Any, collate: Any) -> float:
    """How far the logits of a row's second document are from what it gives alone, in the trainer's own batches."""
    row = next(row for row in trainer.train_dataset if len(row.get("seq_lengths", [row["input_ids"]])) > 1)
    first, second = row["seq_lengths"][:2]
    ids = row["input_ids"][: first + second]
    model = trainer.model.eval()
    with torch.no_grad():
        together = collate([{"input_ids": ids, "seq_lengths": [first, second]}])
        together.pop("labels")
        alone = collate([{"input_ids": ids[first:], "seq_lengths": [second]}])
        alone.pop("labels")
        difference = model(**together).logits[0, first:] - model(**alone).logits[0]
    return float(difference.abs().max())


if __name__ == "__main__":
    main()
