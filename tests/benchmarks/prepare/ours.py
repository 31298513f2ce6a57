"""The prepare stage over a folder of raw rows, as a pod runs it; prints what it did.

    python ours.py RAW_FOLDER MODEL_FOLDER OUT [steps]

With `steps` it also says where CPU time went, by looking at the stack every few milliseconds: for one process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

from finetune_api.contract import Stage
from finetune_api.snapshot import Snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from jobs import make_job

SEQUENCE_LENGTH: Final = 4096
_INTERVAL: Final = 0.004
_PREPARE: Final = "finetune_trainer.prepare."
STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "contamination": (f"{_PREPARE}barrier.contamination", f"{_PREPARE}barrier.grams"),
    "duplicates": (f"{_PREPARE}barrier.likeness", f"{_PREPARE}barrier.dedup"),
    "clean": (f"{_PREPARE}clean",),
    "fingerprint": (f"{_PREPARE}prints",),
    "read": (f"{_PREPARE}read",),
    "tokenize": ("finetune_trainer.tokenizers", "mistral_common"),
    "records": (f"{_PREPARE}records",),
    "report": (f"{_PREPARE}report",),
    "store": ("finetune_trainer.storage", "finetune_trainer.verified"),
    "write": (f"{_PREPARE}encode", f"{_PREPARE}shards", "finetune_trainer.prepared"),
    "validate": ("finetune_trainer.tasks",),
    "spill": (f"{_PREPARE}scan", f"{_PREPARE}spill"),
    "split": (f"{_PREPARE}barrier",),
}
"""The modules of each step; a stack belongs to the first step of which it holds one."""


class Sampler:
    """Counts what the process is at, each _INTERVAL of its CPU time."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        modules = set()
        while frame is not None:
            modules.add(frame.f_globals.get("__name__", ""))
            frame = frame.f_back
        self.samples[
            next((step for step, names in STEPS.items() if any(m.startswith(names) for m in modules)), "other")
        ] += 1


def main(raw: str, model: str, out: str, *options: str) -> None:
    """Print one line of JSON."""
    sampler = Sampler()
    imports = time.process_time()
    text = "text" in json.loads(next(Path(raw).glob("*.jsonl")).open(encoding="utf-8").readline())
    job = make_job(
        model={"uri": f"file://{model}"},
        task={"type": "Completion" if text else "Instruction"},
        data={"sources": [{"uri": f"file://{raw}/*.jsonl"}]},
        training={"sequenceLength": SEQUENCE_LENGTH},
        output={"uri": f"file://{out}"},
    )
    snapshot = Snapshot(name="benchmark", namespace="ml", uid="u", stage=Stage.PREPARE, attempt=1, spec=job.spec)
    if "steps" in options:
        sampler.start()
    try:
        with TemporaryDirectory(dir=Path(out).parent) as scratch:
            prepared = prepare(
                snapshot,
                storage=open_storage(),
                scratch=Path(scratch),
                report=lambda progress: None,
                cpuinfo="",
                processes=lambda _: len(os.sched_getaffinity(0)),
            )
    finally:
        sampler.stop()
    seconds = time.process_time() - imports
    total = max(1, sampler.samples.total())
    print(
        json.dumps(
            {
                "rows": prepared.data.rows_read,
                "kept": prepared.data.splits.to_json(),
                "tokens": prepared.data.train_tokens,
                "digest": prepared.data_digest,
                "data_uri": prepared.data_uri,
                "steps": {"imports": imports, **{k: seconds * n / total for k, n in sampler.samples.most_common()}},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
