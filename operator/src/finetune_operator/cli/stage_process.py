"""A stage's command as a process of this machine: started with its Snapshot, asked how far it is, ended with us."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final, Self
from urllib.request import ProxyHandler, build_opener

from pydantic import ValidationError

from finetune_api.contract import Env
from finetune_api.progress import Progress
from finetune_api.result import Result
from finetune_api.snapshot import Snapshot
from finetune_operator.apply.local import shim
from finetune_operator.apply.local.container import LOOPBACK
from finetune_operator.apply.local.machine import free_port
from finetune_operator.cli.stopping import STOPPING

_ASK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 30.0


class StageProcess:
    """One command of the trainer. No process is left when the block ends."""

    def __init__(
        self, command: str, snapshot: Snapshot, *, scratch: Path, log: Path, environ: Mapping[str, str], python: str
    ) -> None:
        self._result = scratch / "result.json"
        self._port = free_port(random.Random())  # noqa: S311 - a port number
        told = scratch / "snapshot.json"
        told.write_text(json.dumps(snapshot.to_json()))
        own = {
            Env.SNAPSHOT: str(told),
            Env.SCRATCH: str(scratch),
            Env.RESULT: str(self._result),
            Env.PROGRESS_PORT: str(self._port),
            Env.HOSTS: json.dumps({"localhost": LOOPBACK}),  # by which the trainer knows that it is in no pod
            Env.VISIBLE_DEVICES: "",
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__, python, "-m", "finetune_trainer", command],
                stdin=subprocess.PIPE,  # its end is our death
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environ, **own},
                start_new_session=True,
            )
        self._signalled: list[signal.Signals] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(shim.STOP_NOW)
        self._process.communicate()

    def wait(self, show: Callable[[Progress], None], stopping: Callable[[], None]) -> int:
        """Its exit code, or minus the number of the signal that stopped us.

        The first signal lets it end in good order, the next one ends it; `stopping` hears of the first.
        """
        waited = 0.0
        with self._signals():
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self._process.wait(_ASK_SECONDS)
                    return -self._signalled[0] if self._signalled else code
                if self._signalled:
                    if waited == 0:
                        stopping()
                        self._process.terminate()
                    waited += _ASK_SECONDS
                    if len(self._signalled) > 1 or waited > _GRACE_SECONDS:
                        self._process.send_signal(shim.STOP_NOW)
                elif (progress := self._ask()) is not None:
                    show(progress)

    def result(self) -> Result | None:
        """Its last words; None when it left none."""
        try:
            return Result.parse(json.loads(self._result.read_bytes()), ignore_unknown=True)
        except (FileNotFoundError, ValueError, ValidationError):
            return None

    def _ask(self) -> Progress | None:
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(f"http://{LOOPBACK}:{self._port}/progress", timeout=_ANSWER_SECONDS) as answer:
                return Progress.parse(json.load(answer), ignore_unknown=True)
        except (OSError, ValueError):  # it is not that far yet, or busy
            return None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def heard(number: int, _frame: FrameType | None) -> None:
            self._signalled.append(signal.Signals(number))

        before = {number: signal.signal(number, heard) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
