"""The S3 server is reached as a user's would be: by what an SDK reads from the environment."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError

from s3server import S3Server


@pytest.mark.tier("s3")
def test_the_environment_is_all_that_an_sdk_needs(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3")
    s3.put_object(Bucket=s3_bucket, Key="folder/key", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=s3_bucket, Key="folder/key", Body=b"second", IfNoneMatch="*")
    assert s3.get_object(Bucket=s3_bucket, Key="folder/key")["Body"].read() == b"first"


@pytest.mark.tier("s3")
def test_wrong_keys_are_refused(s3_server: S3Server, s3_bucket: str) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key_id,
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3.list_objects_v2(Bucket=s3_bucket)
