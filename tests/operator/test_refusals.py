"""Each answer of an API server becomes what the caller must do about it."""

from __future__ import annotations

import pytest

from finetune_operator.apply import AlreadyExists, ClusterError, Conflict, Rejected, Unavailable
from finetune_operator.apply.refusals import error_from

STATUS = b'{"kind":"Status","message":"because","reason":"%s"}'


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, b"BadRequest", Rejected),
        (401, b"Unauthorized", Unavailable),
        (403, b"Forbidden", Rejected),
        (404, b"NotFound", Rejected),
        (405, b"MethodNotAllowed", Rejected),
        (408, b"Timeout", Unavailable),
        (409, b"AlreadyExists", AlreadyExists),
        (409, b"Conflict", Conflict),
        (410, b"Expired", Unavailable),
        (413, b"RequestEntityTooLarge", Rejected),
        (415, b"UnsupportedMediaType", Rejected),
        (422, b"Invalid", Rejected),
        (429, b"TooManyRequests", Unavailable),
        (500, b"InternalError", Unavailable),
        (503, b"ServiceUnavailable", Unavailable),
        (504, b"Timeout", Unavailable),
    ],
)
def test_each_refusal_becomes_what_the_caller_must_do(status: int, reason: bytes, kind: type[ClusterError]) -> None:
    error = error_from(status, {}, STATUS % reason)
    assert (type(error), str(error)) == (kind, "because")


def test_the_time_that_the_server_asks_to_wait_is_kept() -> None:
    error = error_from(429, {"Retry-After": "17"}, STATUS % b"TooManyRequests")
    assert isinstance(error, Unavailable)
    assert error.retry_after == 17


def test_a_time_to_wait_that_is_no_number_is_passed_over() -> None:
    error = error_from(503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"")
    assert isinstance(error, Unavailable)
    assert error.retry_after is None


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"[]", b'{"reason":"x"}', b"\xff\xfe", b"null"])
def test_an_answer_that_is_not_the_api_servers_is_quoted(body: bytes) -> None:
    error = error_from(502, {}, body)
    assert isinstance(error, Unavailable)
    assert str(error) == f"HTTP 502: {body.decode(errors='replace')}"
