"""Documents in one row give what they give alone, in transformers' own attention, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encoded import Encoded
from tiny_models import tiny_model

LENGTHS = [40, 7, 1, 25]


def logits(folder: str, dtype: str, one_document: bool = False) -> dict[str, float]:
    """How far a packed row is from its documents alone, ours and transformers'; `one_document` claims that it is one.

    Of each the largest difference in the first document and in the others, in units of the mean logit.
    """
    import torch

    from finetune_trainer import attention
    from finetune_trainer.architectures import causal_language_model
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    own = attention.implementation(None, device=torch.device("cpu"), dtype=getattr(torch, dtype))

    def model(implementation: str) -> Any:
        found: Any = causal_language_model(Path(folder)).from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation=implementation
        )
        for parameter in found.parameters():  # far from the flat attention of fresh weights
            if parameter.dim() > 1:
                parameter.data = torch.nn.functional.normalize(parameter.data, dim=-1) * 4
        return found.eval()

    ours, plain = model(own), model("eager")
    data = Encoded.random(LENGTHS, vocab_size=200)
    cpu = torch.device("cpu")

    def of(*documents: int) -> torch.Tensor:
        tokens = tokens_of(data, [PlacedRow(0, documents)], cpu)
        where = attention.Documents.of([tokens.ids.shape[1]], cpu) if one_document else tokens.documents
        return ours(input_ids=tokens.ids, position_ids=tokens.positions, documents=where, use_cache=False).logits[0]

    with torch.inference_mode():
        packed = of(*range(len(LENGTHS))).split(LENGTHS)
        alone = [of(number) for number in range(len(LENGTHS))]
        theirs = [plain(torch.from_numpy(data.ids(number)).long()[None]).logits[0] for number in range(len(LENGTHS))]
    found = {}
    for name, others in (("alone", alone), ("transformers", theirs)):
        scale = max(float(one.abs().mean()) for one in others)
        apart = [float((one - other).abs().max()) / scale for one, other in zip(packed, others, strict=True)]
        found |= {f"{name}, first": apart[0], f"{name}, others": max(apart[1:])}
    return found


KINDS = {
    "mistral": ("mistral", {}),
    "mistral with a window": ("mistral", {"sliding_window": 8}),
    "ministral": ("ministral", {}),
    "ministral3": ("ministral3", {}),
    "ministral3 with a window": ("ministral3", {"sliding_window": 8}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_document_gives_what_it_gives_alone_and_in_plain_transformers(preloaded, tmp_path, kind):
    model_type, config = KINDS[kind]
    folder = str(tiny_model(tmp_path / "model", model_type=model_type, config=config))
    (apart,) = preloaded.run(logits, folder=folder, dtype="float32")
    assert max(apart.values()) <= 1e-5


def test_in_bfloat16_they_are_as_near_as_it_can_tell(preloaded, tmp_path):
    (apart,) = preloaded.run(logits, folder=str(tiny_model(tmp_path / "model")), dtype="bfloat16")
    assert max(apart["alone, first"], apart["alone, others"]) <= 2e-2


def test_a_leak_between_documents_would_show(preloaded, tmp_path):
    folder = str(tiny_model(tmp_path / "model"))
    (apart,) = preloaded.run(logits, folder=folder, dtype="float32", one_document=True)
    assert apart["alone, first"] <= 1e-5
    assert apart["alone, others"] > 0.1


@pytest.mark.parametrize(
    ("model_type", "config", "without"),
    [
        ("mistral", {"sliding_window": 8}, {"sliding_window": None}),
        ("ministral", {}, {"layer_types": ["full_attention"] * 2}),
        ("ministral3", {}, {"llama_4_scaling_beta": 0.0}),
    ],
)
def test_what_sets_an_architecture_apart_matters_in_texts_of_this_length(
    preloaded, tmp_path, model_type, config, without
):
    ours = tiny_model(tmp_path / "ours", model_type=model_type, config=config)
    other = tiny_model(tmp_path / "other", model_type=model_type, config=config)
    change(other / "config.json", without)
    (apart,) = preloaded.run(between, folders=[str(ours), str(other)])
    assert apart > 1e-3


def change(path: Path, changes: dict[str, Any]) -> None:
    import json

    content = json.loads(path.read_text())
    for name, value in changes.items():
        (content if name in content else content["rope_parameters"])[name] = value
    path.write_text(json.dumps(content))


def between(folders: list[str]) -> float:
    """The largest difference of two models' logits over one text."""
    import torch

    from finetune_trainer.architectures import causal_language_model

    ids = torch.from_numpy(Encoded.random([40], vocab_size=200).ids(0)).long()[None]
    with torch.inference_mode():
        one, other = (causal_language_model(Path(folder)).from_pretrained(folder)(ids).logits for folder in folders)
    return float((one - other).abs().max() / one.abs().mean())
