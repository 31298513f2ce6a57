"""Every ZeRO stage × method × task × precision: interrupted at a random step, finished by the same ranks and by others.

`PYTHONPATH=tests/kit python tests/benchmarks/train/product.py [SEED]` prints a line for each job. The same number of
ranks must come to the very bits of a gang that nothing interrupted; another number to its loss; and what is published
must compute the same in plain transformers and PEFT. Ends with 1 where one does not.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path

import plain_process
from finetune_trainer.verified import files_under
from preloaded import Preloaded
from training_cases import LESSONS, METHODS, Case, Outcome, carry_through, finish, interrupt

TOLERANCE = {"Float32": 1e-5, "BFloat16": 2e-2}
"""Nats, against plain PyTorch in fp32: what is packed against what is alone."""


@dataclass(frozen=True)
class Finished:
    """A job that was published, by whoever finished it."""

    case: Case
    loss: float
    """Of the test split, in nats."""
    weights: dict[str, str]
    """Digests of the safetensors."""
    for_plain: plain_process.Request

    @classmethod
    def of(cls, outcome: Outcome, model: Path) -> Finished:
        """With the published model copied to `model`, where nobody publishes again."""
        shutil.copytree(outcome.model, model)
        digests = {file.path: file.sha256 for file in files_under(model) if file.path.endswith(".safetensors")}
        loss = outcome.published.metrics.test_loss
        request = {**outcome.for_plain, "model": str(model)}
        return cls(outcome.case, float("nan") if loss is None else loss, digests, request)


@dataclass(frozen=True)
class Row:
    """One job: finished undisturbed; after an interruption by as many ranks; and by another number."""

    whole: Finished
    same: Finished
    other: Finished

    def __iter__(self) -> Iterator[Finished]:
        return iter((self.whole, self.same, self.other))

    def complaints(self, plain: list[float]) -> list[str]:
        """What does not hold, where `plain` are the losses of the three by plain PyTorch."""
        told = [finished.loss for finished in self]
        tolerance = TOLERANCE[self.whole.case.precision]
        found = []
        if self.whole.weights != self.same.weights:
            found.append("other bits after an interruption")
        if not abs(told[0] - told[2]) <= max(1e-4, tolerance):
            found.append(f"on {self.other.case.finished} ranks the loss is {told[2]:.6f}, not {told[0]:.6f}")
        if any(not abs(ours - theirs) <= tolerance for ours, theirs in zip(told, plain, strict=True)):
            found.append(f"plain transformers computes {plain}, not {told}")
        return found


def cases(dice: random.Random) -> list[Case]:
    """As another number of ranks finishes them."""
    every = (Case(*chosen) for chosen in product((1, 2, 3), METHODS, LESSONS, TOLERANCE))
    return [
        replace(case, stop_after=dice.randint(1, case.steps - 2), finished=dice.choice((1, 3)))
        for case in every
        if (case.method, case.lesson) != ("Full", "Preference")  # which compares with the model without its adapter
    ]


def carried_through(preloaded: Preloaded, home: Path, case: Case) -> Row:
    """The interrupted job is finished twice from the same checkpoint."""
    undisturbed = replace(case, stop_after=None, finished=2)
    whole = Finished.of(carry_through(preloaded, home, undisturbed), home / str(undisturbed) / "model")
    snapshot, own = case.prepared(home), home / str(case)
    stopped = interrupt(preloaded, home, case, snapshot)
    shutil.copytree(own / "output", own / "kept")
    finished = []
    for number, each in enumerate((replace(case, finished=2), case)):
        outcome = finish(preloaded, home, each, snapshot, stopped)
        finished.append(Finished.of(outcome, own / f"model-{number}"))
        shutil.rmtree(own / "output")
        shutil.copytree(own / "kept", own / "output")
    return Row(whole, *finished)


def main(seed: int) -> int:
    """A stage at a time, which asks plain PyTorch once: importing it takes longer than a job."""
    begun, failed, number = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "ranks").mkdir()
        preloaded = Preloaded(home / "ranks")
        try:
            for _, part in groupby(cases(random.Random(seed)), key=lambda case: case.stage):
                rows = []
                for case in part:
                    number += 1
                    try:
                        rows.append(carried_through(preloaded, home, case))
                    except AssertionError as words:
                        failed += 1
                        print(f"{case}: {words}", flush=True)
                plain = plain_process.losses([finished.for_plain for row in rows for finished in row], preloaded)
                for index, row in enumerate(rows):
                    found = row.complaints(plain[3 * index : 3 * index + 3])
                    failed += bool(found)
                    print(f"{row.other.case}: {'; '.join(found) or 'holds'}", flush=True)
        finally:
            preloaded.stop()
    print(f"seed {seed}: {failed} of {number} failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
