"""Small jobs for each ZeRO stage, method and task: trained on two ranks, interrupted, finished by another number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plain_process
import pods
from corpora import TOPICS, pair, prepare_snapshot, ticket
from finetune_api.contract import Stage
from finetune_api.result import Prepared, Published
from finetune_api.snapshot import Snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from preloaded import Preloaded

NUM_ROWS = 60
INTERRUPTED = 143
"""The exit code of a gang that was told to stop."""


def document(number: int) -> dict[str, Any]:
    return {"text": f"Number {number} comes before {number + 1}."}


def tickets(number: int) -> dict[str, Any]:
    """About any number of things; about none, too."""
    topics = [topic for place, topic in enumerate(TOPICS) if number >> place & 1]
    return {"text": f"Ticket {number}: {' and '.join(topics)}", "label": topics}


@dataclass(frozen=True)
class Lesson:
    """A task, and rows for it."""

    task: Mapping[str, Any]
    row: Callable[[int], dict[str, Any]]


LESSONS = {
    "Instruction": Lesson({"type": "Instruction"}, pair),
    "Completion": Lesson({"type": "Completion"}, document),
    "Classification": Lesson({"type": "Classification"}, ticket),
    "MultiLabel": Lesson({"type": "Classification", "classification": {"multiLabel": True}}, tickets),
}

METHODS = {"LoRA": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.05}}, "Full": {"type": "Full"}}


@dataclass(frozen=True)
class Case:
    """One job, and where it is interrupted."""

    stage: int
    """Of ZeRO."""
    method: str
    lesson: str
    precision: str = "Float32"
    begun: int = 2
    """Ranks before it is interrupted."""
    finished: int = 1
    """Ranks afterwards."""
    stop_after: int | None = 2
    """Steps; None: nothing interrupts it, and the first gang finishes."""

    def __str__(self) -> str:
        ranks = self.begun if self.stop_after is None else f"{self.begun}-{self.stop_after}-{self.finished}"
        return f"ZeRO{self.stage}-{self.method}-{self.lesson}-{self.precision}-{ranks}"

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "task": LESSONS[self.lesson].task,
            "method": METHODS[self.method],
            "training": {
                "sequenceLength": 128,
                "globalBatchSize": 4,
                "maxSteps": 6,
                "learningRate": 3e-3,
                "precision": self.precision,
            },
            "evaluation": {"everySteps": 100, "generateRows": 1, "maxNewTokens": 2},
            "deepspeed": {"zeroStage": self.stage},
            "workers": {"nodes": self.begun},
        }

    def prepared(self, home: Path) -> Snapshot:
        """Its train stage; model and data lie in `home` by then."""
        home.mkdir(exist_ok=True)
        rows = [LESSONS[self.lesson].row(number) for number in range(NUM_ROWS)]
        stage = prepare_snapshot(home, rows=rows, **self.spec)
        scratch = home / "scratch"
        scratch.mkdir()
        found = prepare(stage, storage=open_storage(), scratch=scratch, report=lambda _: None, cpuinfo="")
        return stage.model_copy(update={"stage": Stage.TRAIN, "prepared": found})


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    case: Case
    home: Path
    prepared: Prepared
    codes: tuple[tuple[int, ...], ...]
    """Exit codes of the ranks: of the gang that was interrupted, and of the one that finished."""
    stopped_at: int | None
    """The checkpoint that the first gang left."""
    published: Published

    @property
    def model(self) -> Path:
        """The published model's folder."""
        return _path(self.published.model_uri)

    @property
    def for_plain(self) -> plain_process.Request:
        return plain_process.request(self.home / "model", self.model, _path(self.prepared.data_uri))


def carry_through(preloaded: Preloaded, home: Path, case: Case) -> Outcome:
    """Prepared, trained, interrupted, resumed and published. Raises AssertionError with the ranks' words otherwise."""
    snapshot = case.prepared(home)
    stopped: list[dict[str, Any]] = []
    if case.stop_after is not None:
        fault = {"step": case.stop_after, "to": "pod", "signal": "SIGTERM"}
        stopped = gang(preloaded, home / "first", snapshot, fault)
        snapshot = on_nodes(snapshot, case.finished).model_copy(update={"attempt": 2})
    done = gang(preloaded, home / "last", snapshot)
    assert done[0]["result"].get("published"), (str(case), stopped, done)
    assert snapshot.prepared is not None
    return Outcome(
        case=case,
        home=home,
        prepared=snapshot.prepared,
        codes=tuple(tuple(rank["code"] for rank in ranks) for ranks in (stopped, done)),
        stopped_at=stopped[0]["result"].get("checkpointStep") if stopped else None,
        published=Published.parse(done[0]["result"]["published"]),
    )


def gang(
    preloaded: Preloaded, folder: Path, snapshot: Snapshot, fault: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """A pod for each node; what each of them said. `fault` as for pods.run_pod."""
    return preloaded.run(
        pods.run_pod,
        world_size=snapshot.spec.workers.nodes,
        folder=str(folder),
        snapshot=snapshot.to_json(),
        fault=fault,
    )


def on_nodes(snapshot: Snapshot, number: int) -> Snapshot:
    """The same job, given another number of nodes."""
    workers = snapshot.spec.workers.model_copy(update={"nodes": number})
    return snapshot.model_copy(update={"spec": snapshot.spec.model_copy(update={"workers": workers})})


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))
