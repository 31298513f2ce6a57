import errno

import pytest

from finetune_api.contract import ExitCode, Stage
from finetune_api.result import Failure, Result
from finetune_trainer.failures import StageFailed
from finetune_trainer.last_words import last_words, may_do_better
from finetune_trainer.storage import AccessDenied, NotFound, PreconditionFailed, StorageError, StoreUnavailable


@pytest.mark.parametrize(
    ("error", "code", "failure"),
    [
        (
            StageFailed(ExitCode.DIVERGED, "Diverged", "no longer finite", field="spec.training.learningRate"),
            69,
            Failure(reason="Diverged", message="no longer finite", field="spec.training.learningRate"),
        ),
        (
            AccessDenied("s3://a/b: 403"),
            77,
            Failure(reason="AccessDenied", message="s3://a/b: 403", field="spec.storage.secretName"),
        ),
        (
            StoreUnavailable("s3://a: timed out"),
            75,
            Failure(reason="StoreUnavailable", message="s3://a: timed out", field="spec.storage"),
        ),
        (
            PreconditionFailed("s3://a: somebody else wrote first"),
            75,
            Failure(reason="StoreChanged", message="s3://a: somebody else wrote first"),
        ),
        (NotFound("s3://a: not found"), 65, Failure(reason="NotFound", message="s3://a: not found")),
        (
            StorageError("s3://a: the store refused"),
            64,
            Failure(reason="StoreRefused", message="s3://a: the store refused", field="spec.storage"),
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/scratch/x"),
            75,
            Failure(
                reason="ScratchFull",
                message="[Errno 28] No space left on device: '/scratch/x'",
                field="spec.workers.resources.scratch",
            ),
        ),
        (
            KeyError("RANK"),
            1,
            Failure(reason="Crashed", message="KeyError: 'RANK'"),
        ),
        (RuntimeError("first line\nTraceback"), 1, Failure(reason="Crashed", message="RuntimeError: first line")),
        (RuntimeError(), 1, Failure(reason="Crashed", message="RuntimeError: no message")),
    ],
)
def test_every_end_has_a_code_and_one_sentence(error, code, failure):
    expected = Result(stage=Stage.TRAIN, attempt=3, failure=failure)
    assert last_words(error, stage=Stage.TRAIN, attempt=3) == (code, expected)


def test_the_longest_message_still_fits(caplog):
    code, result = last_words(RuntimeError("x" * 10_000), stage=Stage.TRAIN, attempt=1)
    assert code == 1
    assert len(result.encode()) <= 3500
    assert "x" * 10_000 in caplog.text


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (AccessDenied("s3://a/b: 403"), False),
        (StageFailed(ExitCode.STOPPED, "Stopped", "told to stop"), False),
        (StoreUnavailable("s3://a: timed out"), True),
        (RuntimeError("a bug"), True),
    ],
)
def test_what_will_be_tried_again_is_known(error, again):
    assert may_do_better(error) is again
