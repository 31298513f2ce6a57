"""How a stage says that it failed and what a person can change."""

from __future__ import annotations

from finetune_api.contract import ExitCode
from finetune_api.result import Failure


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
        self.failure = Failure(reason=reason, message=message[:1024], field=field, places=places[:10])
