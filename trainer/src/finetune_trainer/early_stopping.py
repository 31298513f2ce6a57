"""Which validation is the best, and whether it is time to stop. Pure: of the history, which every checkpoint holds."""

from __future__ import annotations

from finetune_api.spec import EarlyStopping, Watched
from finetune_trainer.history import History, Validation


def judged(history: History, watched: Watched) -> History:
    """With its last validation as the best unless one before was as good."""
    last, best = history.last_validation, history.best
    if last is None or (best is not None and _goodness(best, watched) >= _goodness(last, watched)):
        return history
    return history.with_best()


def is_over(history: History, rule: EarlyStopping) -> bool:
    """Whether the latest `patience` validations were no better than the best."""
    return history.best is not None and history.since_best >= rule.patience


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
