"""Storage on the disposable S3 server, straight or through a proxy, with little patience."""

from __future__ import annotations

from typing import Any, Final

from finetune_trainer.storage.calls import Patience
from finetune_trainer.storage.s3 import S3Storage, connect
from s3server import S3Server

QUICK: Final = Patience(longest_pause=0.01)


def s3_storage(
    server: S3Server, endpoint: str, *, read_timeout: float = 5, secret: str | None = None, **options: Any
) -> S3Storage:
    """`endpoint` is the server's own or a proxy's; `options` are S3Storage's."""
    client = connect(
        endpoint=endpoint,
        region=server.region,
        access_key_id=server.access_key_id,
        secret_access_key=secret or server.secret_access_key,
        read_timeout=read_timeout,
    )
    return S3Storage(client, endpoint=endpoint, **({"patience": QUICK} | options))
