from pathlib import Path

import pytest

from encoded import Encoded
from finetune_api.spec import LoRA, Precision
from tiny_models import tiny_model

LENGTHS = [40, 7, 1, 25]


def losses(folder: str, precision: str, window: int | None, one_document: bool) -> dict[str, list[float]]:
    """Loss of each document in one packed row and alone; `one_document` claims that the row is a single document."""
    import torch

    from finetune_trainer.attention import Documents
    from finetune_trainer.model import Adapter, load_model
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    cpu = torch.device("cpu")
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4, alpha=8), target_modules=("q_proj", "v_proj"), seed=0),
        precision=Precision(precision),
        activation_checkpointing=False,
        device=cpu,
    )
    model.mistral.config.sliding_window = window
    for parameter in model.parameters():  # far from the flat attention of fresh weights
        parameter.data = torch.nn.functional.normalize(parameter.data, dim=-1) * 4 if parameter.dim() > 1 else parameter
    data = Encoded.random(LENGTHS, vocab_size=200)

    def hidden(rows: tuple[int, ...]) -> torch.Tensor:
        tokens = tokens_of(data, [PlacedRow(0, rows)], cpu)
        documents = Documents.of([tokens.ids.shape[1]], cpu) if one_document else tokens.documents
        with torch.inference_mode():
            return model.mistral.model(
                input_ids=tokens.ids, position_ids=tokens.positions, documents=documents
            ).last_hidden_state[0]

    packed = hidden(tuple(range(len(LENGTHS)))).split(LENGTHS)
    alone = [hidden((index,)) for index in range(len(LENGTHS))]
    return {
        "difference": [float((one - other).abs().max()) for one, other in zip(packed, alone, strict=True)],
        "scale": [float(one.abs().mean()) for one in alone],
    }


@pytest.mark.parametrize(("precision", "window"), [("Float32", None), ("Float32", 8), ("BFloat16", None)])
def test_a_packed_document_gives_what_it_gives_alone(preloaded, tmp_path, precision, window):
    folder = str(tiny_model(tmp_path / "model"))
    (answer,) = preloaded.run(losses, folder=folder, precision=precision, window=window, one_document=False)
    tolerance = 1e-5 if precision == "Float32" else 2e-2
    assert max(answer["difference"]) <= tolerance * max(answer["scale"])


def test_a_leak_between_documents_would_show(preloaded, tmp_path):
    folder = str(tiny_model(tmp_path / "model"))
    (answer,) = preloaded.run(losses, folder=folder, precision="Float32", window=None, one_document=True)
    assert answer["difference"][0] <= 1e-5
    assert min(answer["difference"][1:]) > 0.1
