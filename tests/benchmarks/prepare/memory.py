"""Peak memory of preparation by size of its input: eight files on local disk.

    PYTHONPATH=tests/kit python tests/benchmarks/prepare/memory.py 500 4000     megabytes

Rows are of random words, about 1 kB each. Memory is the proportional set size of all processes together, at its peak.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from measure import Cost, run

from tiny_models import TokenizerKind, tiny_model

FILES: Final = 8
_SEED: Final = 5
_WORDS: Final = 30_000
_PROMPT: Final = 20
_ANSWER: Final = 140
_BATCH: Final = 2_000
_HERE: Final = Path(__file__).parent


def write_rows(folder: Path, megabytes: int) -> None:
    """About so many, of FILES files."""
    dice = np.random.default_rng(_SEED)
    letters = dice.integers(ord("a"), ord("z") + 1, size=(_WORDS, 6), dtype=np.uint8)
    letters[:, 5] = ord(" ")
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"{number}.jsonl").open("wb") as file:
            while file.tell() < megabytes * 1_000_000 // FILES:
                file.writelines(_rows(dice, letters))


def _rows(dice: np.random.Generator, letters: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> Iterator[bytes]:
    words = letters[dice.integers(0, _WORDS, size=(_BATCH, _PROMPT + _ANSWER))]
    for row in words:
        prompt, answer = row[:_PROMPT].tobytes()[:-1], row[_PROMPT:].tobytes()[:-1]
        yield b'{"prompt": "%b", "completion": "%b"}\n' % (prompt, answer)


def prepare(folder: Path) -> Cost:
    """The stage over `folder`/raw on all cores."""
    with TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, _HERE / "ours.py", folder / "raw", folder / "model", f"{out}/out"]
        return run(list(map(str, command)), environment=os.environ, log=folder / "log")


def main(*megabytes: str) -> None:
    """Print a table."""
    print("| input | rows/s | CPU s | peak memory |\n| --- | --- | --- | --- |")
    costs = []
    for size in map(int, megabytes):
        with TemporaryDirectory() as name:
            folder = Path(name)
            tiny_model(folder / "model", tokenizer=TokenizerKind.MISTRAL_V3, config={"max_position_embeddings": 8192})
            write_rows(folder / "raw", size)
            rows = sum(1 for path in (folder / "raw").iterdir() for _ in path.open("rb"))
            costs.append(cost := prepare(folder))
            speed, peak = rows / cost.seconds, cost.peak_bytes / 1e6
            print(f"| {size} MB | {speed:,.0f} | {cost.cpu_seconds:.0f} | {peak:,.0f} MB |", flush=True)
    print(f"the last takes {costs[-1].peak_bytes / costs[0].peak_bytes:.2f} times the memory of the first")


if __name__ == "__main__":
    main(*sys.argv[1:])
