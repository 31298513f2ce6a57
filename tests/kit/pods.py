"""The pods of a training gang on this machine, their ranks forked from the preloaded process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetune_api.contract import Env
from finetune_api.progress import Activity, Progress
from finetune_api.snapshot import Snapshot
from finetune_trainer.launch import launch
from finetune_trainer.pod import Pod
from finetune_trainer.progress import ProgressFile
from finetune_trainer.ranks import rank_folder
from finetune_trainer.watchdog import Watchdog


class Overheard(ProgressFile):
    """Of a rank to which something happens as it says something."""

    def __init__(self, path: Path, happens: Callable[[Progress], None]) -> None:
        super().__init__(path)
        self._happens = happens

    def say(self, progress: Progress) -> None:
        super().say(progress)
        self._happens(progress)


class ForkedRank:
    """`finetune_trainer.train` in a fork of this process, as the launcher sees a process."""

    def __init__(self, pod: Pod, environ: Mapping[str, str], happens: Callable[[Progress], None]) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                from finetune_trainer.train import carry_out

                folder = rank_folder(pod.scratch, int(environ["LOCAL_RANK"]))
                progress = Overheard(folder / "progress.json", happens)
                code = carry_out(pod, progress, folder / "result.json", environ=environ)
            except Exception:  # noqa: BLE001 the parent's stack must not be unwound in the child
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        return self._reap(0) or 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        if self._code is None and (ended := os.waitpid(self.pid, options))[0]:
            self._code = os.waitstatus_to_exitcode(ended[1])
        return self._code


def pod_environ(folder: Path, snapshot: Snapshot, *, node: int = 0, port: int = 0) -> dict[str, str]:
    """What a pod of the stage is told; its files lie in `folder`, loopback is its network."""
    own = folder / f"pod-{node}"
    (own / "scratch").mkdir(parents=True, exist_ok=True)
    (own / "snapshot.json").write_text(snapshot.model_dump_json(by_alias=True, exclude_none=True))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(own / "scratch"),
        Env.SNAPSHOT: str(own / "snapshot.json"),
        Env.SCRATCH: str(own / "scratch"),
        Env.RESULT: str(own / "result.json"),
        Env.NODE_RANK: str(node),
        Env.POD_NAME: f"pod-{node}",
        Env.RENDEZVOUS_HOST: "rank-0.gang",
        Env.RENDEZVOUS_PORT: str(port),
        Env.PROGRESS_PORT: "0",
        Env.HOSTS: json.dumps({"rank-0.gang": "127.0.0.1"}),
    }


def run_pod(folder: str, snapshot: dict[str, Any], fault: dict[str, Any] | None = None) -> dict[str, Any]:
    """One pod of the gang, in a rank of the preloaded process: its exit code and its last words.

    `fault`: a `signal` that the rank of a `node`, or of every one where it is absent, gets as it says that it has taken
    `step` steps (in the `activity` Training where none is named); with `to` "pod" its launcher gets it, and the rank
    says nothing more before it was handed on. With `error` "memory" in place of it, the rank's GPU has no more, with
    "infinite loss" its model computes nothing else from then on in training. With `patience`, ranks take their time, so
    that launchers hear each step, and are given up after so many seconds of silence in training.
    """
    node, port = int(os.environ["RANK"]), int(os.environ["MASTER_PORT"])
    patience = (fault or {}).get("patience")
    environ = pod_environ(Path(folder), Snapshot.parse(snapshot), node=node, port=port)
    pod = Pod.from_env(environ)

    def happens(progress: Progress) -> None:
        if patience is not None:
            time.sleep(0.25)
        if not fault or fault.get("node", node) != node:
            return
        if (progress.activity, progress.step) == (fault.get("activity", Activity.TRAINING), fault["step"]):
            if fault.get("error") == "memory":
                import torch

                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            if fault.get("error") == "infinite loss":
                _lose_the_loss()
                return
            number = signal.Signals[fault["signal"]]
            if fault.get("to") == "pod":
                _await_from(os.getppid(), number)
            signal.raise_signal(number)

    code = launch(
        pod,
        pod.read_snapshot(),
        environ=environ,
        start=lambda own: ForkedRank(pod, {**os.environ, **own}, happens),
        watch=lambda now: Watchdog(now, least_seconds=patience or Watchdog.least_seconds),
    )
    return {"code": code, "result": json.loads(pod.result.read_bytes())}


def _lose_the_loss() -> None:
    from torch.nn.modules.module import register_module_forward_hook

    from finetune_trainer.model import PackedModel

    def lose(module: Any, _given: Any, summed: Any) -> Any:
        return summed * float("inf") if isinstance(module, PackedModel) and module.training else None

    register_module_forward_hook(lose)


def _await_from(launcher: int, number: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    os.kill(launcher, number)
    signal.sigwait({number})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
