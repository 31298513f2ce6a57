"""The S3 server of the cluster tests: a pod of its own, reached by jobs through its Service and by tests from here."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster_client import Manifest
from finetune_trainer.storage.s3 import S3Storage, connect
from real.access import Access
from real.restricted import deployment, namespace_manifest, secret, service

IMAGE = "localhost/finetune-s3:test"
PORT = 7070
SECRET = "s3-keys"
_REGION = "us-east-1"
_GUEST = "guest"
_ACCOUNTS = "/accounts"


@dataclass(frozen=True)
class Store:
    """`start` it, then reach it at `endpoint` from pods, and from here inside `opened`."""

    access: Access
    node: str
    """Where its pod runs, so that another node can be lost."""
    namespace: str = "finetune-s3"
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(16))
    access_key_id: str = "test"
    guest_secret_access_key: str = field(default_factory=lambda: secrets.token_hex(16))
    """Of an account which may do nothing but what buckets say."""

    @property
    def endpoint(self) -> str:
        return f"http://s3.{self.namespace}.svc:{PORT}"

    def start(self) -> None:
        """Returns when it answers."""
        arguments = [
            f"--port=:{PORT}",
            f"--access={self.access_key_id}",
            f"--secret={self.secret_access_key}",
            f"--region={_REGION}",
            f"--iam-dir={_ACCOUNTS}",
            "--quiet",
            "posix",
            "/data",
        ]
        pod = deployment(
            "s3",
            self.namespace,
            image=IMAGE,
            port=PORT,
            args=arguments,
            volumes=[{"name": "data", "emptyDir": {}}, {"name": "accounts", "secret": {"secretName": "accounts"}}],
            mounts={"data": "/data", "accounts": _ACCOUNTS},
            node=self.node,
        )
        front = service("s3", self.namespace, port=PORT)
        self.access.apply(namespace_manifest(self.namespace), self._accounts(), pod, front)
        self.access.kubectl(
            f"--namespace={self.namespace}", "rollout", "status", "deployment/s3", "--timeout=100s", within=110
        )

    def stop(self) -> None:
        self.access.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", within=120)

    @contextmanager
    def opened(self) -> Iterator[S3Storage]:
        """A way to it from this machine."""
        with self._forwarded() as endpoint:
            yield S3Storage(self._client(endpoint), endpoint=endpoint)

    def create_bucket(self, name: str) -> None:
        with self._forwarded() as endpoint:
            self._client(endpoint).create_bucket(Bucket=name)

    def admit_guest(self, bucket: str, *actions: str) -> None:
        """Such as `s3:GetObject`, on the bucket and all that is in it; whatever was granted there before is gone."""
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [_GUEST]},
            "Action": actions,
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        with self._forwarded() as endpoint:
            self._client(endpoint).put_bucket_policy(Bucket=bucket, Policy=policy)

    def keys(self, namespace: str) -> Manifest:
        """The Secret that jobs in this namespace name."""
        return secret(SECRET, namespace, accessKeyId=self.access_key_id, secretAccessKey=self.secret_access_key)

    def guest_keys(self, namespace: str) -> Manifest:
        """The same Secret with the keys of a guest, who may do what `admit_guest` said."""
        return secret(SECRET, namespace, accessKeyId=_GUEST, secretAccessKey=self.guest_secret_access_key)

    def storage_spec(self, endpoint: str | None = None) -> Mapping[str, Any]:
        """`spec.storage` of a job."""
        return {"endpoint": endpoint or self.endpoint, "region": _REGION, "secretName": SECRET}

    def _accounts(self) -> Manifest:
        """The file that versitygw reads in the folder of `--iam-dir`."""
        guest = {"access": _GUEST, "secret": self.guest_secret_access_key, "role": "user"}
        users = json.dumps({"accessAccounts": {_GUEST: guest}})
        return secret("accounts", self.namespace, **{"users.json": users})

    @contextmanager
    def _forwarded(self) -> Iterator[str]:
        process, port = self.access.forward("service/s3", self.namespace, PORT)
        process.start()
        try:
            process.wait_until(lambda: _listens(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()

    def _client(self, endpoint: str) -> Any:
        return connect(
            endpoint=endpoint,
            region=_REGION,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
        )


def upload(storage: S3Storage, folder: Path, uri: str) -> None:
    """Everything below a folder."""
    for path in folder.rglob("*.*"):
        storage.upload(path, f"{uri}/{path.relative_to(folder)}")


def download(storage: S3Storage, uri: str, folder: Path) -> Path:
    """Everything below a uri. Returns the folder."""
    for stored in storage.list(f"{uri}/"):
        storage.download(stored.uri, folder / stored.uri.removeprefix(f"{uri}/"))
    return folder


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
