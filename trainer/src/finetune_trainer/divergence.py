"""When training has gone wrong, and which steps are to blame. Pure: of losses alone, which every rank knows alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed

REFERENCE: Final = 100
"""Losses that a spike is told by: those before the latest ones."""
LEAST_REFERENCE: Final = 20
"""Before as many are known nothing is called a spike: at the start of a warm-up losses say little of each other."""
PATIENCE: Final = 5
"""Losses in a row that must stand out: a batch of odd documents does so alone, and a model that heals within them."""
DEVIATIONS: Final = 7
LEAST_RISE: Final = 0.5
"""Nats. Where nearly all is learnt the deviation is nearly 0, and any batch would stand out."""
SUSPECTS: Final = 10
"""Steps that are left out: in as many the first moment of AdamW (beta 0.9) forgets most of what led there."""

REMEMBERED: Final = REFERENCE + PATIENCE


class Diverged(StageFailed):
    """At an optimizer step. Every rank raises it alike."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            ExitCode.DIVERGED,
            "Diverged",
            f"{what} at step {step}: try a smaller learning rate or more warm-up",
            field="spec.training.learningRate",
        )
        self.step = step
        self.what = what

    @property
    def suspects(self) -> range:
        """The steps that led there."""
        return range(max(1, self.step - SUSPECTS + 1), self.step + 1)


def refuse_divergence(step: int, losses: Sequence[float], *measured: float | None) -> None:
    """Raises Diverged unless what was `measured` after this step are numbers and the latest `losses` are no spike."""
    if not all(value is None or math.isfinite(value) for value in measured):
        raise Diverged(step, "the loss or its gradient is no longer finite")
    if is_spike(losses):
        raise Diverged(step, f"the loss has risen from about {median(losses[:-PATIENCE]):.3g} to {losses[-1]:.3g}")


def refuse_broken(base_loss: float) -> None:
    """Raises StageFailed when the base model's loss is no number: no learning rate is to blame for that."""
    if not math.isfinite(base_loss):
        raise StageFailed(
            ExitCode.MISMATCH,
            "ModelBroken",
            "before the first step the loss on the test split is not finite: the base model has weights that are no "
            "numbers, or too large ones",
            field="spec.model.uri",
        )


def is_spike(losses: Sequence[float]) -> bool:
    """Whether each of the latest five losses stands out from up to a hundred before them.

    To stand out is to lie above the median by seven standard deviations, estimated by the median absolute deviation,
    which the few largest losses do not move; and by as much again as the median, and by half a nat. Seven deviations
    are what OLMo 2 counts as a spike (arXiv 2501.00656); that the loss must be twice what it was, five times in a row,
    is what llm-foundry's callback KillLossSpike asks for.
    """
    before, latest = losses[-REMEMBERED:-PATIENCE], losses[-PATIENCE:]
    if len(before) < LEAST_REFERENCE:
        return False
    middle = median(before)
    deviation = 1.4826 * median(abs(loss - middle) for loss in before)
    return min(latest) > middle + max(DEVIATIONS * deviation, middle, LEAST_RISE)
