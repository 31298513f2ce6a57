import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.result import Result
from finetune_api.snapshot import Snapshot
from finetune_trainer.launch import launch
from finetune_trainer.pod import Pod
from finetune_trainer.watchdog import Watchdog
from jobs import make_job
from pods import pod_environ

pytestmark = pytest.mark.long

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(os.environ["FINETUNE_SCRATCH"]) / "ranks" / os.environ["LOCAL_RANK"]
rank = int(os.environ["RANK"])
def say(**progress):
    words = {"stage": "Train", "attempt": 1, "activity": "Training", **progress}
    (folder / "partial").write_text(json.dumps(words))
    (folder / "partial").rename(folder / "progress.json")
def leave(code, reason=None, **result):
    failure = {"failure": {"reason": reason, "message": reason}} if reason else {}
    result |= {"stage": "Train", "attempt": 1, **failure}
    (folder / "result.json").write_text(json.dumps(result))
    os._exit(code)
"""


def start(script: str) -> Any:
    """Ranks that do what the script says instead of training."""

    def start_rank(environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PRELUDE + script], env={**os.environ, **environ})

    return start_rank


def run(
    folder: Path, script: str, *, gpus: int = 0, environ: Mapping[str, str] | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    """A pod to its end: exit code and Result."""
    job = make_job(workers={"gpusPerNode": gpus})
    snapshot = Snapshot(name="triage", namespace="ml", uid="u", stage=Stage.TRAIN, attempt=1, spec=job.spec)
    told = pod_environ(folder, snapshot) | dict(environ or {})
    pod = Pod.from_env(told)
    code = launch(pod, snapshot, environ=told, start=start(script), **more)
    result = Result.model_validate_json(pod.result.read_bytes())
    return code, result.model_dump(exclude_defaults=True, mode="json", by_alias=True)


def test_ranks_that_end_well_end_the_pod_well_and_are_told_who_they_are(tmp_path):
    script = "Path(os.environ['HOME'], f'{rank}-of-{os.environ[\"WORLD_SIZE\"]}').touch(); leave(0)"
    assert run(tmp_path, script, gpus=3) == (0, {"stage": "Train", "attempt": 1})
    assert {path.name for path in (tmp_path / "pod-0" / "scratch").glob("*-of-*")} == {"0-of-3", "1-of-3", "2-of-3"}


def test_a_pod_has_no_more_threads_than_it_asked_for_cores(tmp_path):
    script = "Path(os.environ['HOME'], os.environ['OMP_NUM_THREADS']).touch(); leave(0)"
    run(
        tmp_path,
        script,
        environ={"FINETUNE_CORES": "1", "FINETUNE_HOSTS": "{}", "FINETUNE_RENDEZVOUS_HOST": "localhost"},
    )
    assert (tmp_path / "pod-0" / "scratch" / "1").exists()


def test_the_failure_of_one_rank_is_the_pods_and_the_others_are_ended(tmp_path):
    script = "leave(69, 'Diverged', checkpointStep=7) if rank == 1 else leave(75, 'LostPeer')"
    assert run(tmp_path, script, gpus=2) == (
        69,
        {"stage": "Train", "attempt": 1, "failure": {"reason": "Diverged", "message": "Diverged"}, "checkpointStep": 7},
    )


def test_sigterm_is_handed_on_once_and_the_ranks_have_the_last_word(tmp_path):
    script = """
count = 0
def stop(*_):
    global count
    count += 1
signal.signal(signal.SIGTERM, stop)
say(step=1)
while not count: time.sleep(0.01)
time.sleep(0.5)
leave(143, f"StoppedBy{count}", checkpointStep=4)
"""

    def terminate() -> None:
        while not (tmp_path / "pod-0" / "scratch" / "ranks" / "0" / "progress.json").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    code, result = run(tmp_path, script)
    assert (code, result["failure"]["reason"], result["checkpointStep"]) == (143, "StoppedBy1", 4)


def test_sigterm_while_rank_0_has_no_address_ends_the_pod_at_once(tmp_path):
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
    code, result = run(tmp_path, "", environ={"FINETUNE_HOSTS": "{}"})
    assert (code, result["failure"]["reason"]) == (143, "Stopped")


def test_a_rank_that_hears_no_signal_while_it_starts_is_ended_with_the_pods_words(tmp_path):
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
say(activity="Starting")
time.sleep(1000)
"""
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()
    code, result = run(tmp_path, script)
    assert (code, result["failure"]["reason"]) == (143, "Stopped")


def test_a_rank_that_hangs_is_given_up_and_says_where_it_hung(tmp_path, capfd):
    script = """
import faulthandler
faulthandler.register(signal.SIGUSR1)
say(step=12, checkpointStep=9)
def stuck_here(): time.sleep(1000)
stuck_here()
"""
    code, result = run(tmp_path, script, watch=lambda now: Watchdog(now, start_seconds=1.0))
    assert (code, result["failure"]["reason"], result["checkpointStep"]) == (75, "Watchdog", 9)
    assert "last heard Training at step 12" in result["failure"]["message"]
    assert "stuck_here" in capfd.readouterr().err


def test_a_stopped_process_is_given_up_too(tmp_path):
    script = "say(step=3); os.kill(os.getpid(), signal.SIGSTOP)"
    code, result = run(tmp_path, script, watch=lambda now: Watchdog(now, start_seconds=1.0))
    assert (code, result["failure"]["reason"]) == (75, "Watchdog")


def test_progress_of_rank_0_is_served_while_it_runs(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = """
from urllib.request import urlopen
say(step=5, loss=2.5)
address = f"http://127.0.0.1:{os.environ['FINETUNE_PROGRESS_PORT']}/progress"
Path(os.environ["HOME"], "heard").write_bytes(urlopen(address).read())
"""
    run(tmp_path, script, environ={"FINETUNE_PROGRESS_PORT": str(port)})
    heard = json.loads((tmp_path / "pod-0" / "scratch" / "heard").read_text())
    assert heard == {"stage": "Train", "attempt": 1, "activity": "Training", "step": 5, "loss": 2.5}


def test_no_rank_outlives_its_pod(tmp_path):
    script = """
Path(os.environ["HOME"], f"pid-{rank}").write_text(str(os.getpid()))
if rank == 1: leave(65, "ModelChanged")
time.sleep(1000)
"""
    code, _ = run(tmp_path, script, gpus=2)
    pid = int((tmp_path / "pod-0" / "scratch" / "pid-0").read_text())
    assert code == 65
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
