import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoded import Encoded
from tiny_models import tiny_model

LENGTHS = [9, 30, 14, 60, 22, 5, 41]


def load(folder: str) -> Any:
    import torch

    from finetune_api.spec import LoRA, Precision
    from finetune_trainer.model import Adapter, load_model

    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4, alpha=8, dropout=0.5), target_modules=("q_proj", "down_proj"), seed=3),
        precision=Precision.FLOAT32,
        activation_checkpointing=False,
        device=torch.device("cpu"),
    )
    for parameter in model.parameters():  # weights that do more than a fresh model's
        if parameter.dim() > 1:
            parameter.data *= 8
    return model


def measured(folder: str, micro_batch_size: int) -> dict[str, Any]:
    """The mean loss over packed rows by the gang, and token by token by transformers' own loss."""
    import torch

    from finetune_trainer.evaluate import mean_loss
    from finetune_trainer.gang import form_gang
    from finetune_trainer.packing import pack_epoch

    data, model = Encoded.random(LENGTHS, vocab_size=200), load(folder)
    rows = pack_epoch(data.lengths, sequence_length=64, seed=0, epoch=0)
    beats: list[None] = []
    with form_gang(os.environ, gpu=False) as gang:
        model.train()
        loss = mean_loss(model, gang, data, rows, micro_batch_size=micro_batch_size, beat=lambda: beats.append(None))
        training = model.training
    model.eval()
    reference, labelled = 0.0, 0
    for index in range(len(LENGTHS)):
        ids, mask = torch.tensor(data.ids(index), dtype=torch.int64)[None], torch.tensor(data.mask(index))[None]
        if number := int(mask[:, 1:].sum()):
            with torch.no_grad():
                reference += number * float(model.mistral(input_ids=ids, labels=ids.where(mask, -100)).loss)
            labelled += number
    return {"loss": loss, "reference": reference / labelled, "training": training, "beats": len(beats)}


def answered(folder: str, prompts: list[list[int]], max_new_tokens: int) -> dict[str, Any]:
    """Greedy answers by the gang, and by transformers' own generate."""
    import torch

    from finetune_trainer.evaluate import answers
    from finetune_trainer.gang import form_gang

    model = load(folder)
    with form_gang(os.environ, gpu=False) as gang:
        found = answers(
            model,
            gang,
            [np.array(prompt, np.int32) for prompt in prompts],
            max_new_tokens=max_new_tokens,
            eos_id=2,
            beat=lambda: None,
        )
    model.eval()
    reference = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        settings = {"attention_mask": torch.ones_like(ids), "eos_token_id": 2, "pad_token_id": 0}
        model.mistral.set_attn_implementation("sdpa")
        whole = model.mistral.generate(ids, do_sample=False, max_new_tokens=max_new_tokens, **settings)[0].tolist()
        answer = whole[len(prompt) :]
        reference.append(answer[: answer.index(2)] if 2 in answer else answer)
    return {"found": found, "reference": reference}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny_model(tmp_path / "model"))


@pytest.mark.parametrize(("world_size", "micro_batch_size"), [(1, 1), (1, 3), (3, 1)])
def test_every_labelled_token_counts_once_whatever_the_gang(preloaded, folder, world_size, micro_batch_size):
    for answer in preloaded.run(measured, world_size=world_size, folder=folder, micro_batch_size=micro_batch_size):
        assert answer["loss"] == pytest.approx(answer["reference"], rel=1e-6)
        assert answer["training"]
        assert answer["beats"] > 0


def test_answers_are_greedy_and_in_the_order_of_their_prompts(preloaded, folder):
    prompts = [[1, 50, 60], [1, 70], [1, 80, 90, 100, 110], [1]]
    for answer in preloaded.run(answered, world_size=2, folder=folder, prompts=prompts, max_new_tokens=6):
        assert answer["found"] == answer["reference"]
        assert len({tuple(ids) for ids in answer["found"]}) > 1
