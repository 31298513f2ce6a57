"""Run in place of `python -m finetune_trainer`: says what the trainer says, within a second and without torch.

`STAND_IN_STEPS` training steps of `STAND_IN_SECONDS` each; the last done one is kept in the output folder as the
checkpoint. `STAND_IN_FAIL` names a stage that refuses its input, `STAND_IN_STRAY=true` leaves a process behind that has
left session and group and heeds no SIGTERM; with `STAND_IN_DEAF=true` the pod itself heeds none. `STAND_IN_FITS` rows
at once fit into the memory of rank 1; it tries eight, or as many as it is told to.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_RUN = "0123456789abcdef"
_SHAPE = {
    "vocabSize": 32768,
    "hiddenSize": 4096,
    "intermediateSize": 14336,
    "numHiddenLayers": 32,
    "numAttentionHeads": 32,
    "numKeyValueHeads": 8,
    "headDim": 128,
}
_STRAY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def main() -> int:
    snapshot = json.loads(Path(os.environ["FINETUNE_SNAPSHOT"]).read_text())
    stage = snapshot["stage"]
    if os.environ.get("STAND_IN_FAIL") == stage:
        field, places = "spec.data.sources", ["raw.jsonl:7", "raw.jsonl:9"]
        failure = {"reason": "NoRows", "message": "No row is left.", "field": field, "places": places}
        _say(snapshot, failure=failure)
        return 65
    if sys.argv[-1] == "data":
        return _data(snapshot)
    if sys.argv[-1] == "shape":
        _say(snapshot, shape=_SHAPE)
        return 0
    if stage == "Prepare":
        _say(snapshot, prepared=_prepared(snapshot))
        return 0
    return _train(snapshot)


def _data(snapshot: dict[str, Any]) -> int:
    """STAND_IN_DIGEST names the data, STAND_IN_BAD says that it is bad, STAND_IN_SECONDS how long it takes."""
    _serve({"stage": "Prepare", "attempt": 1, "activity": "Reading", "rowsRead": 12345})
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
    uri = f"{snapshot['spec']['data']['cacheUri']}/prepared/{os.environ.get('STAND_IN_DIGEST', 'abc')}"
    folder = Path(uri.removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)
    points = [{"section": "rejected", "text": "10 rows are wrong"}, {"section": "splits", "text": "test is small"}]
    verdict = {"sentence": "Good to train: 970 of 1,000 rows; 2 things to look at", "points": points}
    (folder / "report.json").write_text(json.dumps({"summary": _prepared(snapshot)["data"], "verdict": verdict}))
    bad = {"reason": "TooManyBadRows", "message": "10 rows are wrong", "field": "spec.data.sources", "places": ["a:7"]}
    failure = {"failure": bad} if os.environ.get("STAND_IN_BAD") == "true" else {}
    _say(snapshot, reportUri=f"{uri}/report.html", **failure)
    return 66 if failure else 0


def _train(snapshot: dict[str, Any]) -> int:
    output = Path(snapshot["spec"]["output"]["uri"].removeprefix("file://"))
    checkpoint = output / "checkpoint"
    rank = int(os.environ["JOB_COMPLETION_INDEX"])
    num_steps = int(os.environ["STAND_IN_STEPS"])
    progress = {"stage": "Train", "attempt": snapshot["attempt"], "activity": "Training", "totalSteps": num_steps}
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print(f"rank {rank} starts at step {first}", flush=True)
    before = snapshot.get("microBatch", {"fits": 8, "halvings": 0})
    if before["fits"] > int(os.environ.get("STAND_IN_FITS", "8")):
        return _without_memory(snapshot, rank, before["fits"], before["halvings"])
    if os.environ.get("STAND_IN_STRAY") == "true":
        subprocess.Popen([sys.executable, "-I", "-S", "-c", _STRAY], start_new_session=True)
    if rank == 0:
        _serve(progress)
    for step in range(first + 1, num_steps + 1):
        time.sleep(float(os.environ["STAND_IN_SECONDS"]))
        progress |= {"step": step, "loss": 4.0 - step / num_steps, "tokensPerSecond": 512.0, "secondsLeft": 1}
        if rank == 0:
            output.mkdir(parents=True, exist_ok=True)
            checkpoint.with_suffix(".new").write_text(str(step))
            checkpoint.with_suffix(".new").rename(checkpoint)
    if rank == 0:
        _publish(output)
    _say(snapshot, published=_published(snapshot, num_steps), checkpointStep=num_steps)
    return 0


def _without_memory(snapshot: dict[str, Any], rank: int, rows: int, halvings: int) -> int:
    """Only rank 1 has too little; the other waits for it, until it is stopped."""
    if rank == 0:
        signal.pause()
    words = f"{rows} rows do not fit"
    if rows == 1 or halvings == 3:
        _say(snapshot, failure={"reason": "GpuOutOfMemory", "message": words, "field": "spec.memory"})
        return 68
    failure = {"reason": "MicroBatchTooLarge", "message": words, "field": "spec.memory.microBatchSize"}
    _say(snapshot, failure=failure, microBatch={"tried": rows, "fits": rows // 2, "halvings": halvings + 1})
    return 75


def _serve(progress: dict[str, Any]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(progress).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", int(os.environ["FINETUNE_PROGRESS_PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _publish(output: Path) -> None:
    reports = output / "runs" / _RUN / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    samples = [
        {"prompt": f"question {number}", "expected": "yes", "before": "maybe", "after": "yes!"} for number in range(5)
    ]
    (reports / "samples.json").write_text(json.dumps(samples))


def _say(snapshot: dict[str, Any], **words: object) -> None:
    result = {"stage": snapshot["stage"], "attempt": snapshot["attempt"], **words}
    Path(os.environ["FINETUNE_RESULT"]).write_text(json.dumps(result))


def _prepared(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": _RUN,
        "modelDigest": "m" * 16,
        "dataUri": f"{snapshot['spec']['output']['uri']}/prepared/abc",
        "dataDigest": "d" * 16,
        "data": {
            "files": 1,
            "rowsRead": 1000,
            "rowsCleaned": 30,
            "rowsRejected": 10,
            "rowsRemoved": 20,
            "splits": {"train": 790, "validation": 90, "test": 90},
            "trainTokens": 40000,
            "trainedTokens": 20000,
        },
        "resolved": {
            "totalSteps": 30,
            "stepsPerEpoch": 10,
            "globalBatchSize": 8,
            "warmupSteps": 1,
            "learningRate": 2e-4,
            "precision": "Float32",
            "targetModules": ["q_proj"],
        },
    }


def _published(snapshot: dict[str, Any], step: int) -> dict[str, Any]:
    output = snapshot["spec"]["output"]["uri"]
    return {
        "step": step,
        "epoch": 1,
        "modelUri": f"{output}/runs/{_RUN}/model",
        "reportUri": f"{output}/runs/{_RUN}/reports/report.html",
        "manifestUri": f"{output}/manifest.json",
        "manifestSha256": "a" * 16,
        "metrics": {"baseTestLoss": 4.0, "testLoss": 3.0},
    }


if __name__ == "__main__":
    deaf = os.environ.get("STAND_IN_DEAF") == "true"
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else lambda *_: os._exit(143))
    sys.exit(main())
