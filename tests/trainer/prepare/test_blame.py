"""Which field is to blame for what a store says."""

from __future__ import annotations

import pytest

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.blame import blame
from finetune_trainer.storage import AccessDenied, KeysRefused, NotFound, StoreUnavailable


@pytest.mark.parametrize(
    ("error", "code"),
    [(AccessDenied("s3://a/b: 403"), ExitCode.ACCESS_DENIED), (NotFound("s3://a/b: 404"), ExitCode.MISMATCH)],
)
def test_what_one_object_meets_names_its_field(error: Exception, code: ExitCode) -> None:
    with pytest.raises(StageFailed) as failed, blame("spec.output.uri"):
        raise error
    assert (failed.value.exit_code, failed.value.failure.field) == (code, "spec.output.uri")
    assert failed.value.failure.message == f"spec.output.uri: {error}"


@pytest.mark.parametrize("error", [KeysRefused("s3://a/b: InvalidAccessKeyId"), StoreUnavailable("s3://a/b: 503")])
def test_what_every_object_would_meet_is_not_the_field_s(error: Exception) -> None:
    with pytest.raises(type(error)) as failed, blame("spec.output.uri"):
        raise error
    assert failed.value is error
