"""What an API server's refusal means to whoever asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from finetune_operator.apply import AlreadyExists, ClusterError, Conflict, Rejected, Unavailable

_RETRIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS)
"""Below 500; each passes: a token that expired, a page of a list that was too slow, a server that is busy."""


def error_from(status: int, headers: Mapping[str, str], body: bytes) -> ClusterError:
    """What an answer of 400 or above means to a caller; the text is the server's own sentence."""
    try:
        answer = json.loads(body)
        message, reason = str(answer["message"]), str(answer.get("reason", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        # A load balancer between us and the API server answers with pages of its own.
        message, reason = f"HTTP {status}: {body[:200].decode(errors='replace')}", ""
    if status == HTTPStatus.CONFLICT:
        return AlreadyExists(message) if reason == "AlreadyExists" else Conflict(message)
    if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = headers.get("Retry-After", "")
        return Unavailable(message, retry_after=float(seconds) if seconds.isdecimal() else None)
    return Rejected(message)
