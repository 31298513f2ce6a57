"""The operator as a real process against the disposable cluster."""

from __future__ import annotations

import http.client
import sys

from cluster import ApiServer
from cluster_process import Process, free_port


class Operator:
    """`python -m finetune_operator` as the administrator, watching every namespace unless its settings say otherwise.

    `settings` are the operator's variables without their prefix: `IDENTITY="other"`.
    """

    def __init__(self, api: ApiServer, **settings: str) -> None:
        self._port = free_port()
        self.process = Process(
            "finetune-operator",
            [sys.executable, "-m", "finetune_operator"],
            api.folder / f"finetune-operator-{self._port}.log",
            {
                "KUBECONFIG": str(api.kubeconfig),
                "FINETUNE_OPERATOR_TRAINER_IMAGE": "trainer:test",
                "FINETUNE_OPERATOR_IDENTITY": "operator-under-test",
                "FINETUNE_OPERATOR_SERVE_HOST": "127.0.0.1",
                "FINETUNE_OPERATOR_SERVE_PORT": str(self._port),
                # kwok's pods have addresses but nobody answers there; a refusal comes at once.
                "FINETUNE_OPERATOR_PROGRESS_URL": "http://127.0.0.1:1/progress",
                "FINETUNE_OPERATOR_PROGRESS_SECONDS": "1",
                **{f"FINETUNE_OPERATOR_{name}": value for name, value in settings.items()},
            },
        )

    def start(self) -> None:
        self.process.start()
        self.process.wait_until(lambda: self.answers("/readyz"))

    def kill(self) -> None:
        """As a node that loses power does: no time for last words."""
        self.process.kill()

    def answers(self, path: str) -> bool:
        """Whether a probe of this path succeeds."""
        return self.get(path)[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer; 0 when there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()
