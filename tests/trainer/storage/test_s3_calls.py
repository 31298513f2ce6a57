"""Which answers of a store are its last word."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import SSLError

from finetune_trainer.storage import StorageError, StoreUnavailable
from finetune_trainer.storage.calls import Calls, Patience
from finetune_trainer.storage.s3_calls import judge


@pytest.mark.parametrize(
    "broken",
    [SSLError("bad record mac"), ResponseParserError("<html>"), ConnectionClosedError(endpoint_url="https://store")],
)
def test_whatever_breaks_on_the_way_is_tried_again(broken: Exception) -> None:
    trouble = iter([broken, broken])

    def request() -> str:
        if error := next(trouble, None):
            raise error
        return "answer"

    assert Calls("https://store", judge, Patience(sleep=lambda _: None)).run("s3://bucket/a", request) == "answer"


@pytest.mark.parametrize(
    ("status", "code", "refusal", "tries"),
    [
        (501, "NotImplemented", StorageError, 1),
        (400, "InvalidArgument", StorageError, 1),
        (301, "PermanentRedirect", StorageError, 1),
        (500, "InternalError", StoreUnavailable, 10),
        (503, "SlowDown", StoreUnavailable, 10),
        (429, "TooManyRequests", StoreUnavailable, 10),
    ],
)
def test_what_the_store_will_never_do_is_asked_for_once(
    status: int, code: str, refusal: type[StorageError], tries: int
) -> None:
    seconds = iter(range(100))
    patience = Patience(seconds=9, clock=lambda: float(next(seconds)), sleep=lambda _: None, jitter=lambda: 0)
    asked = []

    def request() -> None:
        asked.append(code)
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")

    with pytest.raises(StorageError, match=code) as refused:
        Calls("https://store", judge, patience).run("s3://bucket/a", request)
    assert (type(refused.value), len(asked)) == (refusal, tries)
