"""What the Hub's answers mean: which are final, in whose words, and which may be another next time."""

from __future__ import annotations

from json import JSONDecodeError
from typing import Final

import httpx2
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from finetune_trainer.storage.calls import Trouble
from finetune_trainer.storage.objects import AccessDenied, KeysRefused, NotFound, StorageError

_WHOSE: Final = "key hfToken of the Secret spec.storage.secretName (with finetune run: HF_TOKEN)"


def judge(uri: str, error: Exception) -> StorageError | Trouble | None:
    """What a request that raised `error` came to."""
    match error:
        case OfflineModeIsEnabled():
            return StorageError(f"{uri}: HF_HUB_OFFLINE is set, so nothing is read from the Hub")
        case HfHubHTTPError():
            status = error.response.status_code
            if status >= 500 or status in (408, 429):
                return Trouble.BUSY
            return _refusal(uri, status, error)
        case httpx2.HTTPError() | OSError() | JSONDecodeError() | UnicodeDecodeError():
            # The last two: the page of a proxy in place of an answer.
            return Trouble.SILENT
        case _:
            return None


def _refusal(uri: str, status: int, error: HfHubHTTPError) -> StorageError:
    """A final answer in the words of the protocol."""
    said, words = error.response.headers.get("x-error-code", ""), error.response.headers.get("x-error-message", "")
    answer = f"{status} {said}".strip()
    if said == "GatedRepo":
        return AccessDenied(f"{uri}: the dataset is gated: ask for access on its page, with the account of {_WHOSE}")
    if status == 401 and words == "Invalid credentials in Authorization header":
        return KeysRefused(f"{uri}: the Hub refuses the token ({answer}): check {_WHOSE}")
    if status in (401, 403):
        # Without a token the Hub says so of a dataset that is not there, too.
        return AccessDenied(f"{uri}: there is no such dataset, or it is private ({answer}): then check {_WHOSE}")
    if said == "EntryNotFound":
        return NotFound(f"{uri}: not found ({answer})")
    if status == 404:
        what = "revision" if said == "RevisionNotFound" else "dataset"
        return NotFound(f"{uri}: there is no such {what} ({answer})")
    return StorageError(f"{uri}: the Hub refused: {error}")
