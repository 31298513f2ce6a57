"""What a stage's pods print: one JSON object a line, and of progress only what is news."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from finetune_api.progress import Progress

SECONDS: Final = 10.0
"""Between two lines about nothing but more steps, or more rows."""

_NEWS: Final = ("activity", "validation_loss", "checkpoint_step")

log = logging.getLogger(__name__)


class JsonLine(logging.Formatter):
    """time, level, message, and the `fields` of the record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def install(*, rank: int = 0) -> None:
    """Print to stderr. Of libraries, and of ranks but the first, only what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger(__package__).setLevel(logging.INFO if rank == 0 else logging.WARNING)


class ProgressLines:
    """Logs what a stage says of itself: at once what is news, the rest now and then."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._news: tuple[object, ...] | None = None
        self._logged = 0.0

    def __call__(self, progress: Progress) -> None:
        news = tuple(getattr(progress, name) for name in _NEWS)
        now = self._clock()
        if news == self._news and now - self._logged < SECONDS:
            return
        self._news, self._logged = news, now
        fields = progress.to_json()
        log.info("%s", fields.pop("activity").lower(), extra={"fields": fields})
