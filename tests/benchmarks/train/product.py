"""Every ZeRO stage × method × task × precision: interrupted at a random step, finished by the same ranks and by others.

`PYTHONPATH=tests/kit python tests/benchmarks/train/product.py [SEED]` prints a line for each job. The same number of
ranks must come to the very bits of a gang that nothing interrupted; another number to its loss; and what is published
must compute the same in plain transformers and PEFT. Ends with 1 where one does not.
"""

from __future__ import annotations

import random
import sys
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import plain_process
from finetune_trainer.verified import files_under
from preloaded import Preloaded
from training_cases import LESSONS, METHODS, Case, Outcome, carry_through

TOLERANCE = {"Float32": 1e-5, "BFloat16": 2e-2}
"""Nats, against plain PyTorch in fp32: what is packed against what is alone."""


def cases(dice: random.Random) -> list[tuple[Case, ...]]:
    """Of each job: undisturbed, interrupted, and finished by others."""
    found = []
    for stage, method, lesson, precision in product((1, 2, 3), METHODS, LESSONS, TOLERANCE):
        stop_after = dice.randint(1, 4)
        whole = Case(stage, method, lesson, precision, begun=2, finished=2, stop_after=None)
        same = replace(whole, stop_after=stop_after)
        found.append((whole, same, replace(same, finished=dice.choice((1, 3)))))
    return found


def complaints(whole: Outcome, same: Outcome, other: Outcome, plain: list[float]) -> list[str]:
    """What does not hold."""
    tolerance = TOLERANCE[whole.case.precision]
    told = [outcome.published.metrics.test_loss or float("nan") for outcome in (whole, same, other)]
    found = []
    if weights(whole) != weights(same):
        found.append("other bits after an interruption")
    if not abs(told[0] - told[2]) <= max(1e-4, tolerance):
        found.append(f"on {other.case.finished} ranks the loss is {told[2]:.6f}, not {told[0]:.6f}")
    if any(not abs(ours - theirs) <= tolerance for ours, theirs in zip(told, plain, strict=True)):
        found.append(f"plain transformers computes {plain}, not {told}")
    return found


def weights(outcome: Outcome) -> dict[str, str]:
    """Digests of the published safetensors."""
    return {file.path: file.sha256 for file in files_under(outcome.model) if file.path.endswith(".safetensors")}


def main(seed: int) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "ranks").mkdir()
        preloaded = Preloaded(home / "ranks")
        try:
            for row in cases(random.Random(seed)):
                outcomes = [carry_through(preloaded, home / str(case), case) for case in row]
                plain = plain_process.losses([outcome.for_plain for outcome in outcomes])
                found = complaints(*outcomes, plain)
                failed += bool(found)
                print(f"{row[-1]} stopped after step {row[-1].stop_after}: {'; '.join(found) or 'holds'}", flush=True)
        finally:
            preloaded.stop()
    print(f"seed {seed}: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
