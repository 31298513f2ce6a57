"""As much of MLflow's REST API as its client needs to keep a run: mlflow.org/docs/latest/rest-api.html."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = "/api/2.0/mlflow/"


@dataclass
class MlflowServer:
    """One experiment's runs, and who asked."""

    url: str = ""
    experiments: list[str] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refuses: bool = False

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """None for 404."""
        match call:
            case "experiments/get-by-name":
                name = body["experiment_name"]
                known = name in self.experiments
                return {"experiment": {"experiment_id": name, "name": name}} if known else None
            case "experiments/create":
                self.experiments.append(body["name"])
                return {"experiment_id": body["name"]}
            case "runs/search":
                return {"runs": [_shown(run) for run in self.runs if run["tag"] in body["filter"]]}
            case "runs/create":
                tag = next(tag["value"] for tag in body["tags"] if tag["key"] == "finetune.run")
                run = {"id": str(len(self.runs)), "tag": tag, "name": body["run_name"], "params": {}, "metrics": []}
                self.runs.append({**run, "status": "RUNNING"})
                return {"run": _shown(self.runs[-1])}
            case "runs/get":
                return {"run": _shown(self.runs[int(body["run_id"])])}
            case "runs/log-batch":
                run = self.runs[int(body["run_id"])]
                run["params"] |= {param["key"]: param["value"] for param in body.get("params", ())}
                run["metrics"] += [(one["step"], one["key"], one["value"]) for one in body.get("metrics", ())]
                return {}
            case "runs/update":
                run = self.runs[int(body["run_id"])]
                run["status"] = body.get("status", run["status"])
                return {"run_info": _shown(run)["info"]}
        raise ValueError(f"the stand-in does not know {call}")


def _shown(run: dict[str, Any]) -> dict[str, Any]:
    info = {"run_id": run["id"], "run_uuid": run["id"], "experiment_id": "0", "status": run["status"]}
    return {"info": {**info, "artifact_uri": "", "start_time": 1, "lifecycle_stage": "active"}, "data": {}}


@contextmanager
def serving_mlflow() -> Iterator[MlflowServer]:
    """On a free port of loopback."""
    world = MlflowServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self._answer({name: values[0] for name, values in query.items()})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            world.tokens.add(self.headers["Authorization"])
            found = None
            if not world.refuses:
                found = world.answer(urlsplit(self.path).path.removeprefix(_PATH), body)
            status = 403 if world.refuses else 404 if found is None else 200
            words = {"error_code": "PERMISSION_DENIED" if world.refuses else "RESOURCE_DOES_NOT_EXIST", "message": ""}
            content = json.dumps(words if found is None else found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 as http.server has it

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        world.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield world
        finally:
            server.shutdown()
            thread.join()
