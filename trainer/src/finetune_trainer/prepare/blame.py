"""Which field of the spec to change when the store refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import AccessDenied, KeysRefused, NotFound


@contextmanager
def blame(field: str) -> Iterator[None]:
    """A refusal or an absent object becomes a StageFailed that names `field`.

    Refused keys and an unreachable store stay what they are: no other object would fare better.
    """
    try:
        yield
    except KeysRefused:
        raise
    except AccessDenied as error:
        raise StageFailed(ExitCode.ACCESS_DENIED, "AccessDenied", f"{field}: {error}", field=field) from error
    except NotFound as error:
        raise StageFailed(ExitCode.MISMATCH, "NotFound", f"{field}: {error}", field=field) from error
