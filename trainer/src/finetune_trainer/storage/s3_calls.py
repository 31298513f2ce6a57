"""Requests to S3: which refusals are final, in whose words, and how long the others are tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from finetune_trainer.storage.objects import (
    AccessDenied,
    KeysRefused,
    NotFound,
    PreconditionFailed,
    StorageError,
    StoreUnavailable,
)

T = TypeVar("T")

_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchUpload"})
_REFUSED = frozenset(
    {"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound"}
)
"""The last is versitygw's word for an unknown key, with status 404."""
_EXPIRED = "ExpiredToken"
"""Keys that are renewed by themselves are by the next request; those of a Secret are in the next attempt's pods."""
_KEYS = "spec.storage.secretName (with finetune run: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
_TRANSIENT = frozenset({"RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted", "BadDigest"})
"""Codes below 500 after which the same request may succeed. BadDigest: the bytes were damaged on their way."""
_NOT_IMPLEMENTED = 501
"""Of all statuses from 500 up the one that stays: the store does not know conditional writes, or this checksum."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a store may fail to answer. botocore's own retries end after 4 s of 503."""

    seconds: float = 600
    """For one request, of a store that has answered before."""
    first_seconds: float = 30
    """For the first answer: a wrong endpoint should be told within a minute."""
    longest_pause: float = 20
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    """In [0, 1): full jitter keeps the ranks of a gang from retrying in step."""


class Calls:
    """Runs requests against one endpoint; safe in threads."""

    def __init__(self, endpoint: str, patience: Patience) -> None:
        self._endpoint = endpoint
        self._patience = patience
        self._has_answered = False

    def run(self, uri: str, request: Callable[[], T]) -> T:
        """The answer to `request`, tried again while that can help and patience lasts.

        Raises:
            NotFound, AccessDenied, PreconditionFailed, StorageError: the store's final word.
            StoreUnavailable: patience ended.
        """
        patience = self._patience
        started = patience.clock()
        tries = 0
        while True:
            tries += 1
            try:
                answer = request()
                self._has_answered = True
                return answer
            except ClientError as error:
                self._has_answered = True
                if _is_final(error):
                    raise refusal(uri, error) from error
                last: Exception = error
            except (NoCredentialsError, PartialCredentialsError) as error:
                raise KeysRefused(f"{uri}: there are no keys: set {_KEYS}") from error
            except ParamValidationError as error:
                raise StorageError(f"{uri}: {error}") from error
            except (BotoCoreError, HTTPError, ResponseParserError, OSError) as error:
                # The two in the middle come through botocore as they are: TLS that breaks within a body, and the
                # page of a proxy in place of an answer.
                last = error
            pause = patience.jitter() * min(patience.longest_pause, 0.2 * 2**tries)
            hopeful = self._has_answered and not (isinstance(last, ClientError) and code_of(last) == _EXPIRED)
            limit = patience.seconds if hopeful else patience.first_seconds
            if patience.clock() + pause - started > limit:
                raise StoreUnavailable(
                    f"{uri}: no usable answer from {self._endpoint} (spec.storage.endpoint) in {limit:.0f} s: {last}"
                ) from last
            patience.sleep(pause)


def code_of(error: ClientError) -> str:
    """S3's own word, such as NoSuchKey; answers to HEAD have none and give the status."""
    return str(error.response["Error"].get("Code", ""))


def status_of(error: ClientError) -> int:
    """HTTP status; 0 when there is none."""
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))


def refusal(uri: str, error: ClientError) -> StorageError:
    """A final answer in the words of the protocol."""
    code, status = code_of(error), status_of(error)
    if code in _REFUSED:
        return KeysRefused(f"{uri}: the store refuses the keys ({code}): check {_KEYS}")
    if status in (401, 403):
        return AccessDenied(f"{uri}: access denied ({code}): check what the keys may do, of {_KEYS}")
    if code in _ABSENT or status == 404:
        return NotFound(f"{uri}: not found ({code})")
    if status == 412:
        return PreconditionFailed(f"{uri}: somebody else wrote first")
    return StorageError(f"{uri}: the store refused: {error}")


def _is_final(error: ClientError) -> bool:
    status, code = status_of(error), code_of(error)
    if status == _NOT_IMPLEMENTED:
        return True
    return 300 <= status < 500 and status not in (408, 429) and code not in _TRANSIENT and code != _EXPIRED
