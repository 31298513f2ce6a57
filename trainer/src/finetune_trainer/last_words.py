"""What a stage that failed leaves behind: an exit code and a Result, never a stack trace as its message."""

from __future__ import annotations

import errno
import logging

from finetune_api.contract import TERMINAL_EXIT_CODES, ExitCode, Stage
from finetune_api.result import Failure, Result
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import AccessDenied, NotFound, PreconditionFailed, StorageError, StoreUnavailable

log = logging.getLogger(__name__)

CRASHED = 1


def last_words(error: Exception, *, stage: Stage, attempt: int) -> tuple[int, Result]:
    """Exit code and Result of the stage that `error` ended. A crash also logs its stack trace."""
    code, failure = _judge(error)
    if code == CRASHED:
        log.error("crashed", exc_info=error)
    else:
        log.error("%s: %s", failure.reason, failure.message)
    result = Result(stage=stage, attempt=attempt, failure=failure)
    if isinstance(error, StageFailed):
        result = result.model_copy(update={"report_uri": error.report_uri, "micro_batch": error.micro_batch})
    return code, result


def may_do_better(error: Exception) -> bool:
    """Whether the stage that `error` ends will be tried again, as far as the trainer knows."""
    return _judge(error)[0] not in (*TERMINAL_EXIT_CODES, ExitCode.STOPPED)


def _judge(error: Exception) -> tuple[int, Failure]:
    match error:
        case StageFailed():
            return error.exit_code, error.failure
        case AccessDenied():
            return ExitCode.ACCESS_DENIED, Failure(
                reason="AccessDenied", message=_line(error), field="spec.storage.secretName"
            )
        case StoreUnavailable():
            return ExitCode.RETRY, Failure(reason="StoreUnavailable", message=_line(error), field="spec.storage")
        case PreconditionFailed():
            return ExitCode.RETRY, Failure(reason="StoreChanged", message=_line(error))
        case NotFound():
            return ExitCode.MISMATCH, Failure(reason="NotFound", message=_line(error))
        case StorageError():
            return ExitCode.BAD_CONFIG, Failure(reason="StoreRefused", message=_line(error), field="spec.storage")
        case OSError(errno=errno.ENOSPC):
            return ExitCode.RETRY, Failure(
                reason="ScratchFull", message=_line(error), field="spec.workers.resources.scratch"
            )
        case _:
            return CRASHED, Failure(reason="Crashed", message=f"{type(error).__name__}: {_line(error)}"[:1024])


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:1000]
