"""One process that has imported the trainer with all it needs, and forks the ranks of a test from itself.

Importing them costs 5 CPU seconds a process; a fork of them costs milliseconds. The process runs no tensor operation
of its own: OpenMP's threads do not survive a fork, so pytest's process must not be the parent.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetune_trainer.rank import import_training

MODULES = ("torch.nn.attention.varlen", "deepspeed.runtime.zero.muon.muon_optimizer")


class Preloaded:
    """Runs functions of test modules in forked ranks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "DS_ACCELERATOR": "cpu"},
        )
        # Here and not in the first call: the imports took 107 s on a busy machine, and that test's time is limited.
        self._await_answer()

    def run(
        self,
        function: Callable[..., Any],
        *,
        world_size: int = 1,
        environ: Mapping[str, str] | None = None,
        timeout: float = 100,
        **arguments: Any,
    ) -> list[Any]:
        """Call a module-level function in `world_size` ranks, with JSON arguments; what each returned, by rank.

        RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set as the launcher sets them. Raises
        AssertionError with the rank's stack trace when one fails, and ends all of them at the timeout.
        """
        self._calls += 1
        folder = self._folder / str(self._calls)
        folder.mkdir()
        request = {
            "file": function.__code__.co_filename,
            "function": function.__name__,
            "arguments": arguments,
            "world_size": world_size,
            "environ": dict(environ or {}),
            "timeout": timeout,
            "folder": str(folder),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._await_answer()
        results = []
        for rank in range(world_size):
            answer = folder / f"{rank}.json"
            if not answer.exists():
                log = (folder / f"{rank}.log").read_text(errors="replace")
                raise AssertionError(f"rank {rank} of {function.__name__} failed:\n{log[-6000:]}")
            results.append(json.loads(answer.read_text()))
        return results

    def _await_answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise AssertionError("the preloaded process has ended")

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _serve() -> None:
    # Imports print to stdout (DeepSpeed's logger does), which is the way to the tests.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import_training()
    for module in MODULES:
        importlib.import_module(module)
    # Half of what loading a tiny model costs: patterns for the weights of every architecture.
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("mistral")
    # DeepSpeed collects garbage as it starts: in a fork, to walk what was inherited would copy all of it.
    gc.freeze()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        port = _free_port()
        children = {_fork(request, rank, port) for rank in range(request["world_size"])}
        _wait(children, time.monotonic() + request["timeout"])
        print("done", file=answers, flush=True)
    os._exit(0)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _fork(request: Mapping[str, Any], rank: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    folder = Path(request["folder"])
    log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(request["world_size"]),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
            **request["environ"],
        }
        result = getattr(_module(request["file"]), request["function"])(**request["arguments"])
        partial = folder / f"{rank}.partial"
        partial.write_text(json.dumps(result))
        partial.rename(folder / f"{rank}.json")
        status = 0
    except BaseException:  # noqa: BLE001 the parent's stack must not be unwound in the child
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _module(file: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _wait(children: set[int], deadline: float) -> None:
    while children:
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)
        if time.monotonic() > deadline:
            for child in children:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            return
        time.sleep(0.01)


if __name__ == "__main__":
    _serve()
