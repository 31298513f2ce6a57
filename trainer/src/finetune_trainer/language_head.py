"""The head of a language model: logits, or the loss of labelled tokens without ever holding all of their logits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_api.memory import LOGITS_AT_ONCE


class LanguageHead(nn.Linear):
    """Linear, without bias, and it knows the loss, too: under ZeRO-3 its weight is only there while it is called."""

    @classmethod
    def of(cls, linear: nn.Linear) -> LanguageHead:
        """With the weight of `linear`, the very parameter, for it may be tied."""
        head = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        head.weight = linear.weight
        return head

    def forward(
        self, hidden: Tensor, targets: Tensor | None = None, *, reduction: Literal["sum", "none"] = "sum"
    ) -> Tensor:
        """Logits of hidden [..., width]; with `targets` int64[tokens], the loss of hidden [tokens, width] in nats.

        The negative log-likelihoods of the targets, one by one or their sum. Gradients are computed along with them, so
        that no logits are kept or computed twice. That of a trained head needs to know what each token counts: it takes
        the sum only.
        """
        if targets is None:
            return functional.linear(hidden, self.weight)
        differentiated = torch.is_grad_enabled()
        if not (differentiated and self.weight.requires_grad):
            losses: Tensor = _TokenLosses.apply(hidden, self.weight, targets, differentiated)
            return losses.sum() if reduction == "sum" else losses
        if reduction != "sum":
            raise ValueError("a trained head answers with the sum of its losses")
        loss: Tensor = _SummedLoss.apply(hidden, self.weight, targets)
        return loss


class _TokenLosses(torch.autograd.Function):
    """Of a frozen head."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, differentiated: bool) -> Tensor:
        losses = hidden.new_empty(len(targets), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if differentiated else None
        for part in _parts(len(targets)):
            log_probabilities, losses[part] = _log_likelihoods(hidden[part], weight, targets[part])
            if gradient is not None:
                torch.mm(_logits_gradient(log_probabilities, targets[part], hidden.dtype), weight, out=gradient[part])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * above[0][:, None]).to(gradient.dtype), None, None, None


class _SummedLoss(torch.autograd.Function):
    """Of a head that is trained, too."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        hidden_gradient = torch.empty_like(hidden)
        # In fp32: in 16 bits each part that is added would round what the parts before have given.
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        for part in _parts(len(targets)):
            log_probabilities, losses = _log_likelihoods(hidden[part], weight, targets[part])
            total += losses.sum()
            gradient = _logits_gradient(log_probabilities, targets[part], hidden.dtype)
            torch.mm(gradient, weight, out=hidden_gradient[part])
            weight_gradient += gradient.T @ hidden[part]
        ctx.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight = ((gradient * above[0]).to(gradient.dtype) for gradient in ctx.saved_tensors)
        return hidden, weight, None


def _parts(tokens: int) -> list[slice]:
    return [slice(start, start + LOGITS_AT_ONCE) for start in range(0, tokens, LOGITS_AT_ONCE)]


def _log_likelihoods(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """fp32[tokens, vocabulary] of each token, and the negative one of each target."""
    found = functional.log_softmax(hidden @ weight.T, dim=-1, dtype=torch.float32)
    return found, -found.gather(1, targets[:, None]).squeeze(1)


def _logits_gradient(log_probabilities: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """Of each token's loss: probabilities, less one at the target. Takes the place of `log_probabilities`."""
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
    return gradient.to(dtype)
