from typing import Any

import pytest


def compared(tokens: int, trained: bool, precision: str) -> dict[str, Any]:
    """Relative differences of loss and gradients from plain autograd in fp64; how many logits were ever held."""
    import torch
    from torch import nn
    from torch.nn import functional

    from finetune_trainer import language_head

    dtype = getattr(torch, precision)
    torch.manual_seed(0)
    linear = nn.Linear(16, 90, bias=False, dtype=dtype).requires_grad_(trained)
    linear.weight.data *= 8
    hidden, targets = torch.randn(tokens, 16, dtype=dtype, requires_grad=True), torch.randint(0, 90, (tokens,))
    exact, weight = hidden.detach().double().requires_grad_(), linear.weight.detach().double().requires_grad_()
    each = functional.cross_entropy(functional.linear(exact, weight), targets, reduction="none")
    (each.sum() * 0.25).backward()

    head = language_head.LanguageHead.of(linear)
    assert head.weight is linear.weight
    loss = head(hidden, targets)
    (loss * 0.25).backward()
    with torch.no_grad():
        quiet = head(hidden, targets, reduction="none")
    answer = {
        "loss": _relative(loss, each.sum()),
        "without gradients": _relative(quiet, each),
        "hidden": _relative(hidden.grad, exact.grad),
        "dtypes": [str(loss.dtype), str(quiet.dtype), str(hidden.grad.dtype)],
    }
    if trained:
        answer["weight"] = _relative(head.weight.grad, weight.grad)
    return answer


def _relative(found: Any, exact: Any) -> float:
    return float((found - exact).detach().double().norm() / exact.detach().norm().clamp_min(1e-30))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("tokens", [0, 1, 1024, 2500])
def test_the_loss_and_its_gradients_are_those_of_plain_autograd(preloaded, tokens, trained):
    (found,) = preloaded.run(compared, tokens=tokens, trained=trained, precision="float32")
    assert max(value for name, value in found.items() if name != "dtypes") < 1e-6


@pytest.mark.parametrize("trained", [False, True])
def test_in_16_bits_gradients_are_as_exact_as_their_precision(preloaded, trained):
    (found,) = preloaded.run(compared, tokens=2500, trained=trained, precision="bfloat16")
    assert found["dtypes"] == ["torch.float32", "torch.float32", "torch.bfloat16"]
    assert found["loss"] < 1e-3
    assert max(found["hidden"], found.get("weight", 0)) < 1e-2


def single_tokens(trained: bool) -> list[float] | str:
    """The gradient of a weighted sum of single losses less the same by autograd, or why there is none."""
    import torch
    from torch import nn
    from torch.nn import functional

    from finetune_trainer.language_head import LanguageHead

    linear = nn.Linear(8, 30, bias=False).requires_grad_(trained)
    hidden, targets, counts = torch.randn(12, 8, requires_grad=True), torch.randint(0, 30, (12,)), torch.randn(12)
    (expected,) = torch.autograd.grad(
        (functional.cross_entropy(linear(hidden), targets, reduction="none") * counts).sum(), hidden
    )
    try:
        losses = LanguageHead.of(linear)(hidden, targets, reduction="none")
    except ValueError as error:
        return str(error)
    (found,) = torch.autograd.grad((losses * counts).sum(), hidden)
    return [float((found - expected).abs().max())]


def test_the_losses_of_single_tokens_may_count_differently_where_the_head_is_frozen(preloaded):
    ((difference,),) = preloaded.run(single_tokens, trained=False)
    assert difference < 1e-6
    (refusal,) = preloaded.run(single_tokens, trained=True)
    assert refusal == "a trained head answers with the sum of its losses"
