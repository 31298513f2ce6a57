"""How a stage says that it failed and what a person can change."""

from __future__ import annotations

from functools import partial
from typing import Any

from finetune_api.contract import ExitCode
from finetune_api.result import Failure, MicroBatch


class StageFailed(Exception):
    """Ends the stage with this exit code; the Failure becomes its Result. Raised `from` its cause if it has one."""

    def __init__(
        self,
        exit_code: ExitCode,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        places: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.report_uri: str | None = None
        """The page about the data that is to blame, where there is one."""
        self.micro_batch: MicroBatch | None = None
        """What did not fit into a GPU's memory, and what is tried next."""
        self.failure = Failure(reason=reason, message=message[:1024], field=field, places=places[:10])

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: exceptions are otherwise made anew from their message alone."""
        words = self.failure
        return partial(StageFailed, field=words.field, places=words.places), (self.exit_code, words.reason, str(self))
