"""Small jobs for each ZeRO stage, method and task: trained on some ranks, maybe interrupted, and finished by others."""

from __future__ import annotations

import copy
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

NUM_ROWS = 40
INTERRUPTED = 143
"""The exit code of a gang that was told to stop."""


def document(number: int) -> dict[str, Any]:
    return {"text": f"Number {number} comes before {number + 1}."}


def tickets(number: int) -> dict[str, Any]:
    """About any number of things; about none, too."""
    topics = [topic for place, topic in enumerate(TOPICS) if number >> place & 1]
    return {"text": f"Ticket {number}: {' and '.join(topics)}", "label": topics}


def preferred(number: int) -> dict[str, Any]:
    return {"prompt": f"{number}?", "chosen": f"It is {number}.", "rejected": "No."}


@dataclass(frozen=True)
class Lesson:
    """A task, and rows for it."""

    task: Mapping[str, Any]
    row: Callable[[int], dict[str, Any]]


LESSONS = {
    "Instruction": Lesson({"type": "Instruction"}, pair),
    "Completion": Lesson({"type": "Completion"}, document),
    "Classification": Lesson({"type": "Classification"}, ticket),
    "Preference": Lesson({"type": "Preference"}, preferred),
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
    steps: int = 5
    stop_after: int | None = None
    """Steps after which its two ranks are told to stop; None: they finish it."""
    finished: int = 2
    """Ranks that finish it."""

    def __str__(self) -> str:
        ranks = "2" if self.stop_after is None else f"2-{self.stop_after}-{self.finished}"
        return f"ZeRO{self.stage}-{self.method}-{self.lesson}-{self.precision}-{ranks}"

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "task": LESSONS[self.lesson].task,
            "method": copy.deepcopy(METHODS[self.method]),
            "training": {
                "sequenceLength": 256,
                "globalBatchSize": 4,
                "epochs": self.steps,
                "maxSteps": self.steps,
                "learningRate": 3e-3,
                "precision": self.precision,
            },
            "evaluation": {"everySteps": 100, "generateRows": 0},
            "deepspeed": {"zeroStage": self.stage},
            "workers": {"nodes": 2},
        }

    def materials(self, home: Path) -> Path:
        """Of all cases below `home` with its lesson: the folder of their model and data."""
        return home / self.lesson

    def prepared(self, home: Path, initial: Path | None = None) -> Snapshot:
        """Its train stage, maybe from an adapter on; model and data lie in `home` by then."""
        own, materials = home / str(self), self.materials(home)
        own.mkdir(parents=True)
        rows = [LESSONS[self.lesson].row(number) for number in range(NUM_ROWS)]
        data = {"deduplication": "Exact", "cacheUri": f"file://{materials}"}
        spec = self.spec
        if initial is not None:
            spec["method"]["lora"]["initialAdapterUri"] = f"file://{initial}"
        stage = prepare_snapshot(materials, rows=rows, data=data, output={"uri": f"file://{own}/output"}, **spec)
        scratch = own / "scratch"
        scratch.mkdir()
        found = prepare(stage, storage=open_storage(), scratch=scratch, report=lambda _: None, cpuinfo="")
        return stage.model_copy(update={"stage": Stage.TRAIN, "prepared": found})


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    case: Case
    materials: Path
    initial: Path | None
    """Folder of the adapter that it went on from."""
    prepared: Prepared
    stopped: tuple[int, ...]
    """Exit codes of the ranks that were interrupted."""
    stopped_at: int | None
    """The checkpoint that they left."""
    codes: tuple[int, ...]
    """Exit codes of the ranks that finished."""
    published: Published

    @property
    def model(self) -> Path:
        """The published model's folder."""
        return _path(self.published.model_uri)

    @property
    def for_plain(self) -> plain_process.Request:
        data = _path(self.prepared.data_uri)
        return plain_process.request(self.materials / "model", self.model, data, initial=self.initial)


def carry_through(preloaded: Preloaded, home: Path, case: Case, *, initial: Path | None = None) -> Outcome:
    """Prepared, trained, maybe interrupted and resumed, and published below `home`; `initial` as for Case.prepared.

    Raises AssertionError with the ranks' words otherwise.
    """
    snapshot = case.prepared(home, initial)
    return finish(preloaded, home, case, snapshot, interrupt(preloaded, home, case, snapshot))


def interrupt(preloaded: Preloaded, home: Path, case: Case, snapshot: Snapshot) -> list[dict[str, Any]]:
    """What the ranks said that were told to stop; nothing where nobody was."""
    if case.stop_after is None:
        return []
    return gang(
        preloaded, home / str(case) / "first", snapshot, {"step": case.stop_after, "to": "pod", "signal": "SIGTERM"}
    )


def finish(preloaded: Preloaded, home: Path, case: Case, snapshot: Snapshot, stopped: list[dict[str, Any]]) -> Outcome:
    """By the case's last gang, after what `interrupt` told. Raises as `carry_through`."""
    resumed = on_nodes(snapshot, case.finished).model_copy(update={"attempt": 2 if stopped else 1})
    done = gang(preloaded, home / str(case) / "last", resumed)
    assert done[0]["result"].get("published"), (str(case), stopped, done)
    assert snapshot.prepared is not None
    lora = snapshot.spec.method.lora
    return Outcome(
        case=case,
        materials=case.materials(home),
        initial=None if lora is None or lora.initial_adapter_uri is None else _path(lora.initial_adapter_uri),
        prepared=snapshot.prepared,
        stopped=tuple(rank["code"] for rank in stopped),
        stopped_at=stopped[0]["result"].get("checkpointStep") if stopped else None,
        codes=tuple(rank["code"] for rank in done),
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
        timeout=170,
    )


def on_nodes(snapshot: Snapshot, number: int) -> Snapshot:
    """The same job, given another number of nodes."""
    workers = snapshot.spec.workers.model_copy(update={"nodes": number})
    return snapshot.model_copy(update={"spec": snapshot.spec.model_copy(update={"workers": workers})})


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))
