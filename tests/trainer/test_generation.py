import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from language_models import load_language_model
from tiny_models import tiny_model


def answered(folder: str, prompts: list[list[int]], max_new_tokens: int) -> dict[str, Any]:
    """Greedy answers by the gang, and by transformers' own generate."""
    import torch

    from finetune_trainer.gang import form_gang
    from finetune_trainer.generation import answers

    model = load_language_model(folder)
    with form_gang(os.environ, gpu=False) as gang:
        found = answers(
            model,
            gang,
            [np.array(prompt, np.int32) for prompt in prompts],
            tokens_at_once=64,
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


def test_answers_are_greedy_and_in_the_order_of_their_prompts(preloaded, folder):
    prompts = [[1, 50, 60], [1, 70], [1, 80, 90, 100, 110], [1]]
    for answer in preloaded.run(answered, world_size=2, folder=folder, prompts=prompts, max_new_tokens=6):
        assert answer["found"] == answer["reference"]
        assert len({tuple(ids) for ids in answer["found"]}) > 1


def slowly_answered(folder: str) -> int:
    """How often a rank gives a sign of life, of which the first takes its time over the only prompt's tokens."""
    from finetune_trainer.gang import form_gang
    from finetune_trainer.generation import answers

    model = load_language_model(folder)
    beats = []
    with form_gang(os.environ, gpu=False) as gang:

        def beat() -> None:
            beats.append(None)
            if gang.rank == 0:
                time.sleep(0.6)

        prompts = [np.array([1, 50], np.int32)]
        answers(model, gang, prompts, tokens_at_once=64, max_new_tokens=5, eos_id=-1, beat=beat)
    return len(beats)


def test_a_rank_without_prompts_gives_signs_of_life_while_others_answer(preloaded, folder):
    assert min(preloaded.run(slowly_answered, world_size=2, folder=folder)) > 0


def batched(lengths: list[int]) -> list[list[int]]:
    from finetune_trainer.generation import batches

    return batches([np.zeros(length, np.int32) for length in lengths], 8192)


def test_prompts_of_like_length_are_computed_together_and_only_so_many(preloaded) -> None:
    (short,) = preloaded.run(batched, lengths=list(range(1, 34)))
    assert [len(batch) for batch in short] == [16, 16, 1]
    assert short[-1] == [0]
    assert preloaded.run(batched, lengths=[3, 8193, 4096, 5]) == [[[1], [2, 3], [0]]]
