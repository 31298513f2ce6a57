"""Two processes that have imported what the trainer's tests need, and fork from themselves what a test runs.

Importing it costs 5 CPU seconds a process; a fork costs milliseconds. One of the two is forked from the other, in which
no module of this project is ever imported. Neither runs a tensor operation of its own: OpenMP's threads do not survive
a fork, so pytest's process must not be the parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import importlib.util
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

PLAIN = ("torch", "peft", "transformers.models.auto.modeling_auto", "transformers.models.mistral.modeling_mistral")
OURS = (
    # What tests import at their top,
    *("pytest", "safetensors.numpy", "numpy.ctypeslib", "finetune_trainer.prepare"),
    *("corpora", "encoded", "fault_proxy", "pods", "s3server", "tiny_models"),
    # and what is imported by the first model, the first engine and the first checkpoint.
    *("torch.nn.attention.varlen", "torch._subclasses.schema_check_mode", "peft.utils.transformers_weight_conversion"),
    *("deepspeed.runtime.zero.muon.muon_optimizer", "deepspeed.comm.mori", "deepspeed.module_inject.auto_ep_layer"),
    "deepspeed.runtime.superoffload.superoffload_stage3",
)
_LONELY_SECONDS = 60
"""For whoever started them to come."""


class Preloaded:
    """Runs functions of test modules in forked ranks, and scripts where nothing is known of this project."""

    def __init__(self, folder: Path, meeting: Path | None = None) -> None:
        """Of all that meet in one folder the first starts the processes, which end when the last has stopped.

        Args:
            folder: for what is run.
            meeting: alone by default.
        """
        self._folder = folder
        self._calls = 0
        self._started: subprocess.Popen[str] | None = None
        meeting = meeting or folder / "meeting"
        meeting.mkdir(parents=True, exist_ok=True)
        with (meeting / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._connect(meeting)
            except (FileNotFoundError, ConnectionRefusedError):
                self._started = _start(meeting)
                self._connect(meeting)

    def _connect(self, meeting: Path) -> None:
        self._plain, self._ranks = _Connection(meeting / "plain"), _Connection(meeting / "ranks")

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
        return self._ask(self._ranks, function, arguments, world_size, environ or {}, timeout)

    def run_plain(self, script: Path, *arguments: str, given: Any) -> Any:
        """The JSON that a script prints when it reads `given` as JSON. Raises AssertionError with its stack trace."""
        asked = {"script": str(script), "arguments": arguments, "given": given}
        return self._ask(self._plain, run_script, asked, 1, {}, 170)[0]

    def _ask(
        self,
        server: _Connection,
        function: Callable[..., Any],
        arguments: Mapping[str, Any],
        world_size: int,
        environ: Mapping[str, str],
        timeout: float,
    ) -> list[Any]:
        self._calls += 1
        folder = self._folder / str(self._calls)
        folder.mkdir()
        server.ask(
            {
                "file": function.__code__.co_filename,
                "function": function.__name__,
                "arguments": arguments,
                "world_size": world_size,
                "environ": dict(environ),
                "timeout": timeout,
                "folder": str(folder),
            }
        )
        results = []
        for rank in range(world_size):
            answer = folder / f"{rank}.json"
            if not answer.exists():
                log = (folder / f"{rank}.log").read_text(errors="replace")
                raise AssertionError(f"rank {rank} of {function.__name__} failed:\n{log[-6000:]}")
            results.append(json.loads(answer.read_text()))
        return results

    def stop(self) -> None:
        for connection in (self._plain, self._ranks):
            connection.close()
        if self._started is not None:
            self._started.wait()


class _Connection:
    """To one of the two processes; asks one thing after the other."""

    def __init__(self, address: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(address))
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rw")

    def ask(self, request: Mapping[str, Any]) -> None:
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        if not self._lines.readline():
            raise AssertionError("the preloaded process has ended")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _start(meeting: Path) -> subprocess.Popen[str]:
    for address in ("plain", "ranks"):
        (meeting / address).unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, __file__, str(meeting)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1", "DS_ACCELERATOR": "cpu"},
    )
    assert process.stdout is not None
    # Here and not in the first call: the imports took 107 s on a busy machine, and that test's time is limited.
    with process.stdout:
        assert process.stdout.readline(), "the preloaded process has ended"
    return process


def _main(meeting: Path) -> None:
    # Imports print to stdout (DeepSpeed's logger does), which is the way to the tests.
    ready = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gc.disable()
    for module in PLAIN:
        importlib.import_module(module)
    # Half of what loading a tiny model costs: patterns for the weights of every architecture.
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("mistral")
    listener = _listener(meeting / "plain")
    if ours := os.fork():
        ready.close()
        _serve(listener, until_ended=ours)
    listener.close()
    from finetune_trainer.rank import import_training

    import_training()
    for module in OURS:
        importlib.import_module(module)
    listener = _listener(meeting / "ranks")
    ready.write("ready\n")
    ready.close()
    _serve(listener)


def _listener(address: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    return listener


def _serve(listener: socket.socket, until_ended: int | None = None) -> None:
    """Each connection by a fork of its own, until the last of them has ended, and the process `until_ended`."""
    # DeepSpeed collects garbage as it starts: in a fork, to walk what was inherited would copy all of it.
    gc.freeze()
    gc.enable()
    running = {} if until_ended is None else {os.pidfd_open(until_ended): until_ended}
    while True:
        for found in wait([listener, *running], timeout=_LONELY_SECONDS):
            if isinstance(found, int):
                os.waitpid(running.pop(found), 0)
                os.close(found)
            else:
                connection, _ = listener.accept()
                if (child := os.fork()) == 0:
                    _answer(connection)
                connection.close()
                running[os.pidfd_open(child)] = child
        if not running:
            os._exit(0)


def _answer(connection: socket.socket) -> None:
    """All that one asks."""
    with connection.makefile("rw") as lines:
        for line in lines:
            request = json.loads(line)
            port = _free_port()
            children = [_fork(request, rank, port) for rank in range(request["world_size"])]
            _wait(children, time.monotonic() + request["timeout"])
            lines.write("done\n")
            lines.flush()
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


def _wait(children: list[int], deadline: float) -> None:
    running = {os.pidfd_open(child): child for child in children}
    while running:
        ended = wait(running, timeout=max(0.0, deadline - time.monotonic()))
        if not ended:
            for child in running.values():
                os.killpg(child, signal.SIGKILL)
        for descriptor in [each for each in ended if isinstance(each, int)] or list(running):
            os.waitpid(running.pop(descriptor), 0)
            os.close(descriptor)


def run_script(script: str, arguments: list[str], given: Any) -> Any:
    """The JSON that it prints when it reads `given` as JSON."""
    sys.argv = [script, *arguments]
    sys.stdin = io.StringIO(json.dumps(given))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(script, run_name="__main__")
    return json.loads(printed.getvalue())


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
