from typing import Any

import pytest

RAGGED = [40, 7, 1, 25, 39, 38, 1, 70]
EVEN = [16, 16, 16]


def differences(lengths: list[int], window: int | None, grouped: bool) -> dict[str, Any]:
    """Largest differences of the answer and of each gradient from attention with a mask of all tokens, in fp64."""
    import torch

    from finetune_trainer.attention import Documents
    from finetune_trainer.attention.sdpa import documents_attention

    generator = torch.Generator().manual_seed(0)

    def drawn(heads: int) -> torch.Tensor:
        # Heads behind tokens, as a projection leaves them.
        values = torch.randn(1, sum(lengths), heads, 8, generator=generator)
        return values.transpose(1, 2).detach().requires_grad_()

    given = drawn(4), drawn(2 if grouped else 4), drawn(2 if grouped else 4)
    answer = documents_attention(*given, Documents.of(lengths, torch.device("cpu")), scaling=0.3, window=window)
    above = torch.randn(answer.shape, generator=generator)
    answer.backward(above)

    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    place = torch.arange(sum(lengths))
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    distance = place[:, None] - place
    mask = (document[:, None] == document) & (distance >= 0) & (distance < (window or len(place)))
    repeated = [tensor.repeat_interleave(4 // tensor.shape[1], dim=1) for tensor in exact]
    scores = (repeated[0] @ repeated[1].transpose(2, 3) * 0.3).masked_fill(~mask, -torch.inf)
    expected = (scores.softmax(-1) @ repeated[2]).transpose(1, 2)
    expected.backward(above.double())
    return {
        "shape": list(answer.shape),
        "answer": float((answer - expected).abs().max()),
        "gradients": [float((own.grad - other.grad).abs().max()) for own, other in zip(given, exact, strict=True)],
    }


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("window", [None, 1, 8, 39])
@pytest.mark.parametrize("lengths", [RAGGED, EVEN, [5]])
def test_documents_of_any_lengths_see_themselves_only_and_back_to_the_window(preloaded, lengths, window, grouped):
    (found,) = preloaded.run(differences, lengths=lengths, window=window, grouped=grouped)
    assert found["shape"] == [1, sum(lengths), 4, 8]
    assert found["answer"] < 1e-5
    assert max(found["gradients"]) < 1e-5


def behind_a_cache(window: int | None) -> dict[str, float]:
    """The last token of two sequences, alone behind its keys, and as one of all."""
    import torch

    from finetune_trainer.attention.sdpa import sequences_attention

    query, key, value = torch.randn(3, 2, 4, 12, 8).unbind()
    whole = sequences_attention(query, key, value, scaling=0.3, window=window)
    last = sequences_attention(query[:, :, -1:], key, value, scaling=0.3, window=window)
    return {"difference": float((whole[:, :, -1:] - last).abs().max())}


@pytest.mark.parametrize("window", [None, 5])
def test_a_token_behind_a_cache_sees_what_it_sees_in_the_whole_sequence(preloaded, window):
    (found,) = preloaded.run(behind_a_cache, window=window)
    assert found["difference"] < 1e-6


def placed(lengths: list[int]) -> dict[str, Any]:
    import torch

    from finetune_trainer.attention import Documents

    padded = Documents.of(lengths, torch.device("cpu")).padded
    return {
        "batches": [[batch.number, batch.length] for batch in padded.batches],
        "back": padded.take[padded.back].tolist(),
        "filled": len(padded.filled),
    }


def test_documents_of_nearly_one_length_are_computed_together(preloaded):
    (found,) = preloaded.run(placed, lengths=[100, 3, 400, 81, 79, 20])
    assert found["batches"] == [[1, 400], [2, 100], [1, 79], [2, 20]]
    assert found["back"] == list(range(683))
    assert found["filled"] == 19 + 17
