"""Whether a run has enough optimizer steps to learn anything, and which field would give it more. Pure."""

from __future__ import annotations

from typing import Final

from finetune_api.result import Resolved
from finetune_api.spec import Training

FEW_STEPS: Final = 50


def field_for_more_steps(training: Training, resolved: Resolved) -> str | None:
    """The field to change where there are fewer than 50 steps; None where there are enough."""
    if resolved.total_steps >= FEW_STEPS:
        return None
    if training.max_steps is not None and training.max_steps <= resolved.total_steps:
        return "spec.training.maxSteps"
    # What was chosen is as small as it can be: only more passes over the data make more steps of it.
    return "spec.training.globalBatchSize" if (training.global_batch_size or 1) > 1 else "spec.training.epochs"
