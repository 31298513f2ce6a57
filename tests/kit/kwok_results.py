"""Last words of stages as the real trainer would say them, for pods that only kwok runs."""

from __future__ import annotations

from finetune_api.contract import ExitCode, Stage
from finetune_api.result import Failure, Result
from kwok import Exit
from results import PREPARED, PUBLISHED, but

BAD_ROWS = Failure(
    reason="TooManyBadRows",
    message="7 of 100 rows are not valid: repair them or raise maxBadRowPercent",
    field="spec.data.maxBadRowPercent",
    places=("s3://raw/tickets.jsonl:3",),
)


def prepared(attempt: int = 1) -> Exit:
    """Data and model are ready."""
    return _exit(ExitCode.DONE, Result(stage=Stage.PREPARE, attempt=attempt, prepared=PREPARED))


def bad_rows() -> Exit:
    """The data is not worth a GPU."""
    return _exit(ExitCode.BAD_ROWS, Result(stage=Stage.PREPARE, attempt=1, failure=BAD_ROWS))


def reused() -> Exit:
    """This very run is already published."""
    known = but(PREPARED, published=PUBLISHED)
    return _exit(ExitCode.DONE, Result(stage=Stage.PREPARE, attempt=1, prepared=known))


def published(attempt: int = 1) -> Exit:
    """The model is published."""
    return _exit(ExitCode.DONE, Result(stage=Stage.TRAIN, attempt=attempt, published=PUBLISHED, checkpoint_step=300))


def crashed(checkpoint_step: int | None = None, attempt: int = 1) -> Exit:
    """A rank died; the launcher still said how far the last checkpoint reaches."""
    return _exit(1, Result(stage=Stage.TRAIN, attempt=attempt, checkpoint_step=checkpoint_step))


def _exit(code: int, result: Result) -> Exit:
    return Exit(code, result.encode().decode())
