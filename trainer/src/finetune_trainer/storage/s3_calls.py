"""What S3's answers mean: which are final, in whose words, and which may be another next time."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from finetune_trainer.storage.calls import Trouble
from finetune_trainer.storage.objects import AccessDenied, KeysRefused, NotFound, PreconditionFailed, StorageError

_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchUpload"})
_REFUSED = frozenset({"InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "XAdminUserNotFound"})
"""The last is versitygw's word for an unknown key, with status 404."""
_EXPIRED = "ExpiredToken"
_KEYS = "spec.storage.secretName (with finetune run: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
_TRANSIENT = frozenset({"RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted", "BadDigest"})
"""Codes below 500 after which the same request may succeed. BadDigest: the bytes were damaged on their way."""
_NOT_IMPLEMENTED = 501
"""Of all statuses from 500 up the one that stays: the store does not know conditional writes, or this checksum."""


def judge(uri: str, error: Exception) -> StorageError | Trouble | None:
    """What a request that raised `error` came to."""
    match error:
        case ClientError():
            if code_of(error) == _EXPIRED:
                return Trouble.EXPIRED
            return _refusal(uri, error) if _is_final(error) else Trouble.BUSY
        case NoCredentialsError() | PartialCredentialsError():
            return KeysRefused(f"{uri}: there are no keys: set {_KEYS}")
        case ParamValidationError():
            return StorageError(f"{uri}: {error}")
        case BotoCoreError() | HTTPError() | ResponseParserError() | OSError():
            # The two in the middle come through botocore as they are: TLS that breaks within a body, and the
            # page of a proxy in place of an answer.
            return Trouble.SILENT
        case _:
            return None


def code_of(error: ClientError) -> str:
    """S3's own word, such as NoSuchKey; answers to HEAD have none and give the status."""
    return str(error.response["Error"].get("Code", ""))


def status_of(error: ClientError) -> int:
    """HTTP status; 0 when there is none."""
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))


def _refusal(uri: str, error: ClientError) -> StorageError:
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
    return 300 <= status < 500 and status not in (408, 429) and code not in _TRANSIENT
