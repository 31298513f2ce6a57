"""The learning rate of a step."""

from __future__ import annotations

import math

from finetune_api.spec import Schedule


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, decay_steps: int, total_steps: int, schedule: Schedule
) -> float:
    """Of optimizer step `step`, from 1: linear warm-up to `peak`, then the schedule, which ends just above 0."""
    if step <= warmup_steps:
        # In this order the last step of it has the peak itself, not a rounding of it.
        return peak * (step / warmup_steps)
    # One more in the divisor: the last step would otherwise have rate 0 and teach nothing.
    done = (step - warmup_steps) / (total_steps - warmup_steps + 1)
    match schedule:
        case Schedule.COSINE:
            return peak * (1 + math.cos(math.pi * done)) / 2
        case Schedule.LINEAR:
            return peak * (1 - done)
        case Schedule.CONSTANT:
            return peak
        case Schedule.WARMUP_STABLE_DECAY:
            return peak * min(1.0, (total_steps - step + 1) / (decay_steps + 1))
