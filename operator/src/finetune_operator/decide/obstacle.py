"""One thing that keeps an attempt from running, in words for whoever could remove it."""

from __future__ import annotations

from dataclasses import dataclass

from finetune_operator.decide.reasons import Reason


@dataclass(frozen=True)
class Obstacle:
    """What is missing; `field` is where a person could change it."""

    reason: Reason
    message: str
    field: str | None = None
