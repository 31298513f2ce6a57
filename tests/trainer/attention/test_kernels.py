from typing import Any

import pytest

LENGTHS = [5, 1, 9]


def of_signature(signature: str, window: int | None) -> dict[str, Any]:
    """What a kernel of this signature is called with, and how far its answer is from this package's own.

    No GPU is needed: the kernel computes what it is asked for in plain PyTorch.
    """
    import torch

    from finetune_trainer.attention import Documents
    from finetune_trainer.attention.sdpa import documents_attention
    from finetune_trainer.attention.varlen import knows_windows, of_kernel

    asked: dict[str, Any] = {}

    def compute(query: Any, key: Any, value: Any, offsets: Any, scale: float, **options: Any) -> torch.Tensor:
        asked.update(options, heads=[query.shape[1], key.shape[1]], scale=scale)
        left, right = options.get("window_size", (-1, 0))
        assert right == 0
        lengths = offsets.diff().tolist()
        found = documents_attention(
            *(tensor.transpose(0, 1)[None] for tensor in (query, key, value)),
            Documents.of(lengths, torch.device("cpu")),
            scaling=scale,
            window=None if left < 0 else left + 1,
        )
        return found[0]

    def torch_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None, scale=None):  # type: ignore[no-untyped-def]
        assert is_causal
        assert max_q == max_k == max(LENGTHS)
        return compute(query, key, value, cu_seq_q, scale)

    def torch_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):  # type: ignore[no-untyped-def]
        return compute(query, key, value, cu_seq_q, scale, window_size=window_size)

    def torch_2_13(q, k, v, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False):  # type: ignore[no-untyped-def]
        return compute(q, k, v, cu_q, scale, window_size=window_size, enable_gqa=enable_gqa)

    def flash_attn(  # type: ignore[no-untyped-def]
        q, k, v, cu_q, cu_k, max_q, max_k, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)
    ):
        assert dropout_p == 0
        return compute(q, k, v, cu_q, softmax_scale, causal=causal, window_size=window_size)

    kernel = {"2.10": torch_2_10, "2.11": torch_2_11, "2.13": torch_2_13, "flash_attn": flash_attn}[signature]
    query, key = torch.randn(1, 4, sum(LENGTHS), 8), torch.randn(2, 1, 2, sum(LENGTHS), 8)
    documents = Documents.of(LENGTHS, torch.device("cpu"))
    found = of_kernel(kernel)(query, *key, documents, scaling=0.3, window=window)
    expected = documents_attention(query, *key, documents, scaling=0.3, window=window)
    return {**asked, "difference": float((found - expected).abs().max()), "knows windows": knows_windows(kernel)}


@pytest.mark.parametrize(
    ("signature", "window", "asked"),
    [
        ("2.10", None, {"heads": [4, 4], "knows windows": False}),
        ("2.11", None, {"heads": [4, 4], "window_size": [-1, 0], "knows windows": True}),
        ("2.13", 4, {"heads": [4, 2], "window_size": [3, 0], "enable_gqa": True, "knows windows": True}),
        ("flash_attn", 4, {"heads": [4, 2], "window_size": [3, 0], "causal": True, "knows windows": True}),
    ],
)
def test_each_release_of_a_kernel_is_called_as_its_signature_asks(preloaded, signature, window, asked):
    (found,) = preloaded.run(of_signature, signature=signature, window=window)
    assert found.pop("difference") < 1e-6
    assert found == {**asked, "scale": 0.3}


def by_blocks(window: int | None) -> dict[str, float]:
    import torch

    from finetune_trainer.attention import Documents, flex
    from finetune_trainer.attention.sdpa import documents_attention

    query, key = torch.randn(1, 4, sum(LENGTHS), 16), torch.randn(2, 1, 2, sum(LENGTHS), 16)
    documents = Documents.of(LENGTHS, torch.device("cpu"))
    with torch.no_grad():
        found = flex.documents_attention(query, *key, documents, scaling=0.3, window=window)
        expected = documents_attention(query, *key, documents, scaling=0.3, window=window)
    return {"difference": float((found - expected).abs().max())}


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("window", [None, 4])
def test_the_block_mask_of_flex_attention_means_documents_and_windows(preloaded, window):
    (found,) = preloaded.run(by_blocks, window=window)
    assert found["difference"] < 1e-5


def chosen(asked: str | None, obstacles: dict[str, str | None] | None = None) -> Any:
    """The kernel, or how choosing failed; without obstacles, those of this machine."""
    import torch

    from finetune_api.spec import AttentionKernel
    from finetune_trainer.attention import kernels
    from finetune_trainer.failures import StageFailed

    found = kernels.obstacles(torch.device("cpu"), torch.bfloat16, windowed=True)
    if obstacles is not None:
        found = {AttentionKernel(kernel): reason for kernel, reason in obstacles.items()}
    try:
        return kernels.choose(AttentionKernel(asked) if asked else None, found)
    except StageFailed as failed:
        return [failed.exit_code, failed.failure.field, failed.failure.message]


def test_the_fastest_kernel_that_is_there_is_chosen(preloaded):
    slow = {"FlashAttention": "no", "Varlen": "no", "Flex": None, "Sdpa": None}
    assert preloaded.run(chosen, asked=None, obstacles=slow) == ["Flex"]
    assert preloaded.run(chosen, asked=None) == ["Sdpa"]


def test_a_kernel_that_is_asked_for_is_taken_or_missed_by_name(preloaded):
    assert preloaded.run(chosen, asked="Sdpa", obstacles={"Varlen": None, "Sdpa": None}) == ["Sdpa"]
    (failure,) = preloaded.run(chosen, asked="FlashAttention")
    assert failure == [
        78,
        "spec.memory.attention",
        "FlashAttention cannot be used here: it runs on GPUs only; possible are Sdpa",
    ]
