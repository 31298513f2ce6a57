"""How the barrier between the passes grows with the rows: duplicates, groups, splits, contamination, on one core.

    PYTHONPATH=trainer/src:crds/src python tests/benchmarks/prepare/barrier.py [ROWS ...] [--kinds KIND ...]

Rows are short (30 words). The hostile ones are what a step that compares rows with each other would drown in. What is
not timed: reading, cleaning and fingerprints (pass 1, "spill" in the table) and encoding (pass 2).
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from finetune_api.spec import Data
from finetune_trainer.prepare.barrier import Decision, decide
from finetune_trainer.prepare.barrier.split import NO_GROUP
from finetune_trainer.prepare.clean.step import Step
from finetune_trainer.prepare.prints import prints_of
from finetune_trainer.prepare.spill import BATCH_ROWS, Block, GoodRow, Spill, to_arrow
from finetune_trainer.prepare.workers import Workers
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message

WORDS: Final = 30
Rows = Callable[[int], Iterator[str]]


def _words(chance: random.Random, count: int) -> list[str]:
    return [f"w{chance.randrange(50_000)}" for _ in range(count)]


def unlike(count: int) -> Iterator[str]:
    chance = random.Random(1)
    for _ in range(count):
        yield " ".join(_words(chance, WORDS))


def half_twice(count: int) -> Iterator[str]:
    """Half of the rows are repeated, half of these with a changed word."""
    chance = random.Random(1)
    for number in range(count // 2):
        words = _words(chance, WORDS)
        yield " ".join(words)
        words[-1] = words[-1] if number % 2 else "changed"
        yield " ".join(words)


def equal(count: int) -> Iterator[str]:
    yield from [" ".join(_words(random.Random(1), WORDS))] * count


def nearly_equal(count: int) -> Iterator[str]:
    """All have the same words but the last."""
    words = " ".join(_words(random.Random(1), WORDS))
    for number in range(count):
        yield f"{words} n{number}"


def chained(count: int) -> Iterator[str]:
    """Each resembles the one before, and none the one far before: one cluster of all."""
    for start in range(count):
        yield " ".join(f"c{number}" for number in range(start, start + 10 * WORDS))


def quoting(count: int) -> Iterator[str]:
    """All begin with the same twenty words, as where an instruction is repeated."""
    chance = random.Random(1)
    start = " ".join(_words(random.Random(2), 20))
    for _ in range(count):
        yield f"{start} {' '.join(_words(chance, 10))}"


KINDS: Final[Mapping[str, Rows]] = {
    "unlike": unlike,
    "half of them twice": half_twice,
    "all equal": equal,
    "all nearly equal": nearly_equal,
    "one chain": chained,
    "one long phrase in all": quoting,
}


def spilled(texts: Iterator[str], path: Path) -> Spill:
    """What pass 1 leaves of these rows."""
    blocks = []
    rows: list[GoodRow] = []

    def write() -> None:
        batch = to_arrow(rows).serialize()
        blocks.append(Block(spill.tell(), batch.size, len(rows)))
        spill.write(batch)
        prints.write(prints_of([row.messages for row in rows]).tobytes())
        groups.write(NO_GROUP * len(rows))
        rows.clear()

    with (
        path.open("wb") as spill,
        path.with_suffix(".prints").open("wb") as prints,
        path.with_suffix(".groups").open("wb") as groups,
    ):
        for line, text in enumerate(texts, 1):
            messages: Messages = (Message("user", text), Message("assistant", "ok"))
            rows.append(GoodRow(line, messages, Step.NONE, NO_GROUP))
            if len(rows) == BATCH_ROWS:
                write()
        if rows:
            write()
    np.arange(1, sum(block.rows for block in blocks) + 1, dtype=np.int64).tofile(path.with_suffix(".lines"))
    return Spill(path, tuple(blocks))


def decided(spill: Spill, folder: Path) -> Decision:
    with Workers(1) as workers:
        return decide(
            [spill],
            Data.parse({"sources": [{"uri": "s3://raw/rows.jsonl"}]}),
            given=[None],
            previous=None,
            benchmarks=lambda: iter(()),
            label_rules=None,
            place_of=str,
            workers=workers,
            folder=folder,
        )


def main() -> None:
    """Print seconds of CPU time for each kind and number of rows."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("rows", type=int, nargs="*", default=[125_000, 250_000, 500_000, 1_000_000])
    arguments.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    chosen = arguments.parse_args()
    counts = chosen.rows
    heads = [*(f"{count:,}" for count in counts), "kept", "disk a row"]
    print(f"| rows | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name in chosen.kinds:
        figures = []
        for count in counts:
            with tempfile.TemporaryDirectory() as home:
                began = time.process_time()
                spill = spilled(KINDS[name](count), Path(home) / "rows.arrow")
                middle = time.process_time()
                decision = decided(spill, Path(home) / "barrier")
                seconds = time.process_time() - middle
                disk = sum(path.stat().st_size for path in (Path(home) / "barrier").rglob("*") if path.is_file())
            figures.append(f"{seconds:.1f} s (spill {middle - began:.1f})")
        kept = int((decision.splits >= 0).sum())
        print(f"| {name} | {' | '.join(figures)} | {kept:,} | {disk / count:.0f} B |", flush=True)
    print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
