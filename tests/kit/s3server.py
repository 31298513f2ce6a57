"""A disposable S3 server (versitygw) on loopback, with its objects in a temporary folder."""

from __future__ import annotations

import http.client
import secrets
from pathlib import Path

from cluster_process import Process, free_port


class S3Server:
    """Start it, then reach it at `endpoint` with the root keys; each test makes buckets of its own."""

    region = "us-east-1"

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._port = free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self.access_key_id = "test"
        self.secret_access_key = secrets.token_hex(16)
        self._objects = folder / "objects"
        self.process = Process(
            "versitygw",
            [
                str(binaries / "versitygw"),
                f"--port=127.0.0.1:{self._port}",
                f"--access={self.access_key_id}",
                f"--secret={self.secret_access_key}",
                f"--region={self.region}",
                "--quiet",
                "posix",
                str(self._objects),
            ],
            folder / "versitygw.log",
        )

    def start(self) -> None:
        self._objects.mkdir(parents=True)
        self.process.start()
        self.process.wait_until(self._answers)

    def stop(self) -> None:
        self.process.kill()

    def create_bucket(self, name: str) -> None:
        self.folder_of(name).mkdir()

    def folder_of(self, bucket: str) -> Path:
        """Its objects as files. The posix backend takes every folder for a bucket, so neither needs an S3 client."""
        return self._objects / bucket

    @property
    def environment(self) -> dict[str, str]:
        """What an AWS SDK reads from the environment to reach this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status in (200, 403)
        except OSError:
            return False
        finally:
            connection.close()
