"""Which validation is the best, and whether it is time to stop. Pure: of the history, which every checkpoint holds."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_api.spec import EarlyStopping, Watched
from finetune_trainer.history import Validation


def best_of(validations: Sequence[Validation], watched: Watched) -> Validation | None:
    """The earliest that none is better than; None before the first."""
    return max(validations, key=lambda validation: _goodness(validation, watched), default=None)


def is_over(validations: Sequence[Validation], rule: EarlyStopping) -> bool:
    """Whether the latest `patience` validations were no better than the best."""
    best = best_of(validations, rule.metric)
    return best is not None and len(validations) - 1 - validations.index(best) >= rule.patience


def _goodness(validation: Validation, watched: Watched) -> float:
    match watched:
        case Watched.LOSS:
            return -validation.loss
        case Watched.ACCURACY:
            return validation.accuracy
        case Watched.MACRO_F1:
            if validation.macro_f1 is None:
                raise ValueError("a task without labels has no F1")
            return validation.macro_f1
