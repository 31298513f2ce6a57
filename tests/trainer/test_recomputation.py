from pathlib import Path
from typing import Any

import pytest

from encoded import Encoded
from tiny_models import tiny_model


def trained(folder: str, how: str) -> dict[str, Any]:
    """The loss, the gradients' sums, and how often each operation was carried out, forwards and backwards."""
    from collections import Counter

    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from finetune_api.spec import ActivationCheckpointing, LoRA, Precision
    from finetune_trainer.adapters import Adapter
    from finetune_trainer.model import Computation, load_model
    from finetune_trainer.objectives import language
    from finetune_trainer.packing import PlacedRow
    from finetune_trainer.tokens import tokens_of

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            counts[func.name().split(".")[0].removeprefix("aten::")] += 1
            return func(*args, **(kwargs or {}))

    cpu = torch.device("cpu")
    model = load_model(
        Path(folder),
        adapter=Adapter(lora=LoRA(rank=4, alpha=8), target_modules=("q_proj", "down_proj")),
        seed=0,
        precision=Precision.FLOAT32,
        device=cpu,
        head=language.HEAD,
        computation=Computation(activation_checkpointing=ActivationCheckpointing(how)),
    ).train()
    counts: Counter[str] = Counter()
    tokens = tokens_of(Encoded.random([30, 12], vocab_size=200), [PlacedRow(0, (0, 1))], cpu)
    with Counted():
        loss = model(tokens)
        loss.backward()
    gradients = {name: float(p.grad.abs().sum()) for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.item(), "gradients": gradients, "counts": counts}


@pytest.fixture(scope="module")
def whole(preloaded, tmp_path_factory) -> tuple[str, dict[str, Any]]:
    """A folder with a model, and what is computed without recomputation."""
    folder = str(tiny_model(tmp_path_factory.mktemp("recomputation") / "model"))
    return folder, preloaded.run(trained, folder=folder, how="None")[0]


def test_full_recomputes_blocks_and_selective_all_but_matrix_products_and_attention(preloaded, whole):
    folder, kept = whole
    (full,) = preloaded.run(trained, folder=folder, how="Full")
    (selective,) = preloaded.run(trained, folder=folder, how="Selective")
    for found in (full, selective):
        assert found["loss"] == kept["loss"]
        assert found["gradients"] == pytest.approx(kept["gradients"], rel=1e-6)
        assert found["counts"]["silu"] == 2 * kept["counts"]["silu"] > 0
    attention = "_scaled_dot_product_flash_attention_for_cpu"
    assert full["counts"]["mm"] > selective["counts"]["mm"]
    assert full["counts"][attention] == 2 * kept["counts"][attention] == 2 * selective["counts"][attention] > 0
